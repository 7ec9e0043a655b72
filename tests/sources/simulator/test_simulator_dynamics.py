"""One step of the grid: organs, treatments, hazards."""

import numpy as np
import pytest

from sojourn.sources.simulator import CaseMix, Practice
from sojourn.sources.simulator.bedside import Bedside
from sojourn.sources.simulator.dynamics import death_hazard, discharge_hazard, transition
from sojourn.sources.simulator.patients import admit
from sojourn.sources.simulator.state import DEVIATION_ROWS, DEVIATIONS, FIXED, INDEX, ORGANS, State


def _admitted(num: int, seed: int = 0) -> State:
    return admit(num, CaseMix(), np.random.default_rng(seed))


def _run(state: State, steps: int, seed: int = 1) -> State:
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        transition(state, Bedside(state), Practice(), rng)
    return state


@pytest.mark.parametrize("organ", ORGANS)
def test_death_hazard_rises_with_every_organ_dysfunction(organ: str) -> None:
    state = _admitted(500)
    before = death_hazard(state, Bedside(state))
    state[organ] = np.maximum(state[organ], 0) + 1
    after = death_hazard(state, Bedside(state))
    assert (after >= before).all()
    assert (after > before).mean() > 0.99


def test_nobody_is_discharged_under_organ_support_and_the_sick_leave_later() -> None:
    state = _admitted(500)
    state["hours"] = 48.0
    calm = discharge_hazard(state, Bedside(state), Practice())
    assert (calm > 0).any()
    sicker = State(state.matrix.copy())
    sicker["neuro"] = np.maximum(sicker["neuro"], 0) + 1
    assert (discharge_hazard(sicker, Bedside(sicker), Practice()) <= calm).all()
    for treatment in ("vasopressor", "ventilated", "rrt"):
        supported = State(state.matrix.copy())
        supported[treatment] = 0.1
        assert (discharge_hazard(supported, Bedside(supported), Practice()) == 0).all()


def test_a_step_leaves_facts_alone_and_stays_finite() -> None:
    state = _admitted(300)
    fixed = state.matrix[[INDEX[name] for name in FIXED]].copy()
    _run(state, 96)
    np.testing.assert_array_equal(state.matrix[[INDEX[name] for name in FIXED]], fixed)
    assert np.isfinite(state.matrix).all()
    assert (state["hours"] == 48).all()


def test_deviations_keep_their_standard_deviation() -> None:
    state = _run(_admitted(4000), 30)
    sd = np.array([sd for sd, _ in DEVIATIONS.values()])
    np.testing.assert_allclose(state.matrix[DEVIATION_ROWS].std(axis=1), sd, rtol=0.06)


def test_vasopressor_raises_pressure_and_antibiotics_clear_infection() -> None:
    low = _admitted(2000)
    low["base_map"] -= 25
    treated, untreated = _run(State(low.matrix.copy()), 24), State(low.matrix.copy())
    rng = np.random.default_rng(1)
    for _ in range(24):
        untreated["vasopressor"] = 0.0
        transition(untreated, Bedside(untreated), Practice(map_threshold=-1000.0), rng)
    assert (treated["vasopressor"] > 0).mean() > 0.3
    assert Bedside(treated).map.mean() > Bedside(untreated).map.mean() + 5

    septic = _admitted(1000)
    septic["load"], septic["match"] = 3.0, [1.0] * 500 + [0.0] * 500
    _run(septic, 96)
    assert septic["load"][:500].mean() < septic["load"][500:].mean() - 0.5


def test_practice_moves_treatment() -> None:
    starts = []
    for threshold in (58.0, 68.0):
        state, rng, count = _admitted(1000), np.random.default_rng(3), 0
        for _ in range(24):
            count += transition(state, Bedside(state), Practice(map_threshold=threshold), rng).vasopressor_start.sum()
        starts.append(count)
    assert starts[1] > 1.5 * starts[0]
