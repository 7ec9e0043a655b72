"""Whole stays."""

import numpy as np

from sojourn.sources.simulator import SimulatorConfig, default_config
from sojourn.sources.simulator.state import ROWS
from sojourn.sources.simulator.trajectories import STEP_MINUTES, Stays, num_chunks, simulate_chunk


def test_the_same_seed_gives_the_same_stays(small_config: SimulatorConfig, small_stays: Stays) -> None:
    again = simulate_chunk(small_config, small_config.sites[0], 0)
    np.testing.assert_array_equal(again.state.matrix, small_stays.state.matrix)
    np.testing.assert_array_equal(again.leave_minute, small_stays.leave_minute)
    other = simulate_chunk(small_config.model_copy(update={"seed": 6}), small_config.sites[0], 0)
    assert not np.array_equal(other.end_minute, small_stays.end_minute)


def test_the_measurement_policy_leaves_the_physiology_alone(small_config: SimulatorConfig, small_stays: Stays) -> None:
    site = small_config.sites[0]
    other = site.model_copy(update={"policy": small_config.sites[1].policy, "charting": small_config.sites[2].charting})
    again = simulate_chunk(small_config, other, 0)
    np.testing.assert_array_equal(again.state.matrix, small_stays.state.matrix)


def test_chunks_cover_the_stays(small_config: SimulatorConfig) -> None:
    site = small_config.sites[0]
    assert num_chunks(small_config, site) == 2
    assert [len(simulate_chunk(small_config, site, chunk)) for chunk in range(2)] == [64, 32]


def test_every_stay_has_one_column_per_step_until_it_ends(small_stays: Stays) -> None:
    assert small_stays.state.matrix.shape == (len(ROWS), len(small_stays.stay))
    assert small_stays.is_last.sum() == len(small_stays)
    for stay in range(len(small_stays)):
        mine = small_stays.stay == stay
        steps = small_stays.step[mine]
        np.testing.assert_array_equal(steps, np.arange(len(steps)))
        np.testing.assert_array_equal(small_stays.state["hours"][mine], steps * 0.5)
        assert small_stays.is_last[mine].tolist() == [False] * (len(steps) - 1) + [True]
        assert steps[-1] * STEP_MINUTES < small_stays.end_minute[stay] <= (steps[-1] + 1) * STEP_MINUTES
    assert not any(actions[small_stays.is_last].any() for actions in small_stays.actions)


def test_nobody_dies_twice_and_hospital_ends_after_icu(small_stays: Stays) -> None:
    assert not (small_stays.died & small_stays.died_on_ward).any()
    assert (small_stays.leave_minute >= small_stays.end_minute).all()
    np.testing.assert_array_equal((small_stays.leave_minute == small_stays.end_minute), small_stays.died)


def test_actions_and_states_tell_the_same_story(small_stays: Stays) -> None:
    order = np.lexsort((small_stays.step, small_stays.stay))
    same = small_stays.stay[order][1:] == small_stays.stay[order][:-1]
    for name, start, end in (
        ("vasopressor", small_stays.actions.vasopressor_start, small_stays.actions.vasopressor_end),
        ("ventilated", small_stays.actions.ventilation_start, small_stays.actions.ventilation_end),
        ("rrt", small_stays.actions.rrt_start, small_stays.actions.rrt_end),
    ):
        runs = small_stays.state[name][order] > 0
        np.testing.assert_array_equal(start[order][:-1][same], (runs[1:] & ~runs[:-1])[same])
        np.testing.assert_array_equal(end[order][:-1][same], (~runs[1:] & runs[:-1])[same])


def test_the_icu_looks_like_an_icu() -> None:
    config = default_config(num_sites=2, stays_per_site=512)
    for site in config.sites:
        stays = simulate_chunk(config, site, 0)
        days = stays.end_minute / 1440
        assert 1.5 < np.median(days) < 3.0
        assert 0.04 < stays.died.mean() < 0.15

        def ever(flags: np.ndarray, stays: Stays = stays) -> float:
            return len(np.unique(stays.stay[flags])) / len(stays)

        assert 0.18 < ever(stays.actions.vasopressor_start) < 0.38
        assert 0.18 < ever(stays.actions.ventilation_start) < 0.42
        assert 0.01 < ever(stays.actions.rrt_start) < 0.09


def test_sicker_case_mix_dies_more() -> None:
    config = default_config(num_sites=1, stays_per_site=512)
    site = config.sites[0]
    rates = []
    for severity in (-0.5, 0.5):
        mix = site.case_mix.model_copy(update={"severity": severity})
        rates.append(simulate_chunk(config, site.model_copy(update={"case_mix": mix}), 0).died.mean())
    assert rates[1] > 1.4 * rates[0]
