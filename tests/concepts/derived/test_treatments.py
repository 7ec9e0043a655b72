"""Episodes of ventilation and dialysis, and doses of vasopressors, worked by hand."""

import pytest

from helpers.task_records import Row, at, table
from sojourn.concepts.derived.norepinephrine import NorepinephrineSettings, norepinephrine_equivalent
from sojourn.concepts.derived.rrt import rrt
from sojourn.concepts.derived.treatments import EpisodeSettings
from sojourn.concepts.derived.ventilation import ventilation
from sojourn.errors import ConfigError

ON, OFF = "CONCEPT//ventilation//start", "CONCEPT//ventilation//end"
LATE: Row = (1, 500, "CONCEPT//heart_rate", 80)


def told(events: object) -> list[tuple[float, str, float | None]]:
    """Hours, last level of the code, value."""
    rows = events.rows()  # type: ignore[attr-defined]
    return [((time - at(0)).total_seconds() / 3600, code.split("//")[-1], value) for _, time, code, value in rows]


def test_a_short_pause_is_inside_an_episode_and_a_long_one_ends_it() -> None:
    rows: list[Row] = [(1, 0, ON), (1, 10, OFF), (1, 15, ON), (1, 20, OFF), (1, 40, ON), (1, 41, OFF), LATE]
    assert told(ventilation(table(rows))) == [
        (0, "start", None),
        (26, "end", 20),  # 6 h after the last end
        (40, "start", None),
        (47, "end", 1),
    ]


def test_a_start_without_an_end_counts_for_three_days_and_a_setting_for_eight_hours() -> None:
    assert told(ventilation(table([(1, 0, ON), LATE]))) == [(0, "start", None), (78, "end", 72)]
    setting: list[Row] = [(1, 3, "CONCEPT//tidal_volume_set", 450), (1, 9, "CONCEPT//tidal_volume_set", 450), LATE]
    assert told(ventilation(table(setting))) == [(3, "start", None), (23, "end", 14)]


def test_discharge_ends_an_episode_at_once_and_what_comes_after_is_new() -> None:
    rows: list[Row] = [(1, 0, ON), (1, 30, "ICU_DISCHARGE//ALIVE"), (1, 32, ON), (1, 33, OFF), LATE]
    assert told(ventilation(table(rows))) == [
        (0, "start", None),
        (30, "end", 30),
        (32, "start", None),
        (39, "end", 1),
    ]


def test_an_end_that_nobody_can_know_yet_is_not_told() -> None:
    assert told(ventilation(table([(1, 0, ON), (1, 10, OFF), (1, 15.9, "X")]))) == [(0, "start", None)]


def test_dialysis_on_different_days_is_two_episodes_and_a_clotted_filter_is_none() -> None:
    on, off = "CONCEPT//rrt//start", "CONCEPT//rrt//end"
    rows: list[Row] = [(1, 0, on), (1, 4, off), (1, 48, on), (1, 60, off), (1, 70, on), (1, 90, off), LATE]
    assert told(rrt(table(rows))) == [(0, "start", None), (28, "end", 4), (48, "start", None), (114, "end", 42)]


def test_doses_add_up_in_norepinephrine() -> None:
    rows: list[Row] = [
        (1, 0, "CONCEPT//norepinephrine//start", 0.1),
        (1, 1, "CONCEPT//vasopressin//start", 0.04),
        (1, 2, "CONCEPT//norepinephrine//end"),
        (1, 2, "CONCEPT//norepinephrine//start", 0.2),
        (1, 3, "CONCEPT//dopamine//start", 15),
        (1, 4, "CONCEPT//phenylephrine//start", 1.0),
        (1, 5, "CONCEPT//epinephrine//start", 0.05),
        (1, 6, "CONCEPT//vasopressin//start", 0),  # a rate of 0 is an end
        LATE,
    ]
    found = told(norepinephrine_equivalent(table(rows)))
    # 0.1; + 0.04 x 2.5; 0.2 instead of 0.1; + 15 / 150; + 1 / 10; + 0.05; - 0.1
    assert [v for _, _, v in found[:7]] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.45])
    assert [h for h, _, _ in found[:7]] == [0, 1, 2, 3, 4, 5, 6]
    assert found[-1][0] == 29  # 24 h after the last rate each ends
    assert found[-1][2] == pytest.approx(0)
    other = NorepinephrineSettings(dopamine=1 / 100)
    assert told(norepinephrine_equivalent(table([rows[4], LATE]), other))[0][2] == pytest.approx(0.15)


def test_a_drug_at_an_unknown_rate_makes_the_dose_unknown_until_it_ends() -> None:
    rows: list[Row] = [
        (1, 0, "CONCEPT//norepinephrine//start", 0.1),
        (1, 1, "CONCEPT//epinephrine//start//ml/hr", 4),
        (1, 2, "CONCEPT//epinephrine//end"),
        (1, 3, "CONCEPT//norepinephrine//start", 90),  # not plausible
        (1, 4, "CONCEPT//norepinephrine//end"),
        LATE,
    ]
    values = [value for _, _, value in told(norepinephrine_equivalent(table(rows)))]
    assert values == [pytest.approx(0.1), None, pytest.approx(0.1), None, 0]


def test_settings_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ConfigError, match="open"):
        EpisodeSettings(treatments=("CONCEPT//rrt",), open_hours=0, merge_hours=1)
    with pytest.raises(ConfigError, match="factors"):
        NorepinephrineSettings(dopamine=-1)


@pytest.mark.parametrize("function", [ventilation, rrt, norepinephrine_equivalent])
def test_nothing_comes_from_nothing(function: object) -> None:
    assert function(table([])).is_empty()  # type: ignore[operator]
    assert function(table([(1, None, "GENDER//F"), (1, 0, "CONCEPT//heart_rate", 80)])).is_empty()  # type: ignore[operator]
