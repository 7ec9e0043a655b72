"""From the latent state to what a perfect measurement shows."""

import numpy as np
import pytest

from sojourn.sources.simulator.bedside import acidity, mean_pressure, saturation, true_values
from sojourn.sources.simulator.catalogue import CONCEPTS
from sojourn.sources.simulator.state import ROWS, State
from sojourn.sources.simulator.trajectories import Stays


def test_every_concept_has_a_true_value_in_its_plausible_range(small_stays: Stays) -> None:
    values = true_values(small_stays.state)
    assert set(values) == set(CONCEPTS)
    for name, value in values.items():
        assert value.shape == (len(small_stays.stay),)
        assert np.isfinite(value).all(), name
        assert (value >= CONCEPTS[name].low * 0.99).all(), name
        assert (value <= CONCEPTS[name].high).all(), name


def test_worked_numbers() -> None:
    # 24 / (0.0307 x 40) = 19.544; 6.1 + log10 = 7.391
    assert acidity(np.float32([24.0]), np.float32([40.0]))[0] == pytest.approx(7.391, abs=1e-3)
    # half saturation at 26.8 mmHg by definition
    assert saturation(np.float32([26.8]))[0] == pytest.approx(50.0, abs=1e-3)
    s = State.zeros(2)
    s["base_map"], s["cardio"], s["vasopressor"] = 85.0, 2.0, [0.0, 0.12]
    # 85 - 7 x 2 = 71, and half of 24 mmHg, weakened by 1.24, on top at 0.12 mcg/kg/min
    np.testing.assert_allclose(mean_pressure(s), [71.0, 71.0 + 12 / 1.24], rtol=1e-6)


def test_systolic_is_above_mean_is_above_diastolic(small_stays: Stays) -> None:
    values = true_values(small_stays.state)
    assert (values["sbp"] > values["map"]).all()
    assert (values["map"] > values["dbp"]).all()


def test_rows_are_views_and_keep_copies() -> None:
    s = State.zeros(3)
    s["cardio"] += 1
    assert s["cardio"].tolist() == [1, 1, 1]
    assert s.matrix.shape == (len(ROWS), 3)
    kept = s.keep(np.array([True, False, True]))
    kept["cardio"] += 1
    assert s["cardio"].tolist() == [1, 1, 1]
    assert len(kept.repeat(4)) == 8
