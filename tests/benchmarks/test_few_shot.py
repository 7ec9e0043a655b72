"""The few-shot benchmark: draws hold both outcomes, and its intervals cover draws and test stays."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest

from sojourn.tasks.files import Labels

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")


@pytest.fixture(scope="module")
def scores() -> ModuleType:
    return imported("few_shot_scores")


def imported(name: str) -> ModuleType:
    """A module of the benchmarks, which are no part of the package."""
    sys.path.insert(0, BENCHMARKS)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(BENCHMARKS)


def labels(count: int) -> pl.DataFrame:
    return pl.DataFrame({"subject_id": np.arange(count), "boolean_value": np.arange(count) % 10 == 0})


def test_a_draw_holds_both_outcomes_and_is_the_same_again() -> None:
    draw = imported("few_shot_studies").draw
    pool = Labels(labels(400), {"name": "toy"})
    for number in range(20):
        drawn = draw(pool, 10, number)
        assert drawn.table["subject_id"].n_unique() == 10
        assert drawn.table["boolean_value"].n_unique() == 2
        assert drawn.table.equals(draw(pool, 10, number).table)
    assert draw(pool, 1000, 0).table.height == 400


def test_the_score_is_the_mean_over_draws_and_wider_where_draws_differ(scores: ModuleType) -> None:
    test, rng = labels(300), np.random.default_rng(0)
    y = test["boolean_value"].to_numpy()
    good = np.clip(0.1 + 0.3 * y + rng.normal(0, 0.2, 300), 0.01, 0.99)
    alike, unlike = scores.score(test, [good, good]), scores.score(test, [good, 1 - good])
    assert alike["auroc"]["value"] == pytest.approx(alike["auroc_by_draw"][0], abs=1e-4)
    assert unlike["auroc"]["value"] == pytest.approx(0.5)
    width = [found["auroc"]["upper"] - found["auroc"]["lower"] for found in (alike, unlike)]
    assert 0 < width[0] < width[1]


def test_the_figure_shows_every_study(scores: ModuleType, tmp_path: Path) -> None:
    area = {"value": 0.8, "lower": 0.7, "upper": 0.9}
    rows = [{"method": "zero-shot", "labels": None, "auroc": area}]
    rows += [{"method": "lightgbm", "labels": n, "auroc": area} for n in (10, 100)]
    out = scores.draw_figure({name: {"task": "toy", "rows": rows} for name in ("one", "two")}, tmp_path / "f.png")
    assert out.read_bytes()[:4] == b"\x89PNG"
