"""Transforms of a model that has learnt the process are uniform."""

import json
from pathlib import Path

import numpy as np
import pytest


def test_fits_of_a_trained_run_are_nearly_uniform(toy_run: Path) -> None:
    fits = json.loads((toy_run / "artifacts" / "fits.json").read_text())
    assert [entry["code"] for entry in fits["value"]] == ["CONCEPT//heart_rate", "CONCEPT//lactate"]
    assert (fits["value"][0]["unit"], fits["value"][0]["description"]) == ("bpm", "heart rate")
    for entry in (*fits["value"], fits["gap"]):
        shares = np.array(entry["pit"])
        assert len(shares) == 20
        assert shares.sum() == pytest.approx(1.0)
        cumulative = np.cumsum(shares)
        assert abs(cumulative - np.arange(1, 21) / 20).max() < 0.1  # a Kolmogorov distance
