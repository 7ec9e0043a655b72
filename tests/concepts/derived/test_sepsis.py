"""Suspected infection and Sepsis-3, worked by hand."""

import pytest

from helpers.task_records import Row, at, table
from sojourn.concepts.derived.infection import InfectionSettings, infection_onsets, roots, suspected_infection
from sojourn.concepts.derived.record import read_record
from sojourn.concepts.derived.registry import derive_onsets
from sojourn.concepts.derived.sepsis import SepsisSettings
from sojourn.concepts.derived.stays import find_stays
from sojourn.errors import ConfigError

DRUG, TAKEN = "CONCEPT//antibiotic//start", "CONCEPT//culture//blood"
STOP = "CONCEPT//antibiotic//end//order"
STAY: list[Row] = [(1, 0, "ICU_ADMISSION//MICU"), (1, 240, "ICU_DISCHARGE//ALIVE")]


def days(first: float, count: int = 4) -> list[Row]:
    """An antibiotic a day."""
    return [(1, first + 24 * day, DRUG) for day in range(count)]


def onsets(rows: list[Row], **chosen: object) -> list[float]:
    record = read_record(table(rows), roots())
    found = infection_onsets(record, find_stays(record), InfectionSettings(**chosen))  # type: ignore[arg-type]
    times = record.axis.events(found, "x")["time"]
    return [(time - at(0)).total_seconds() / 3600 for time in times]


def sepsis(rows: list[Row], name: str = "sepsis3") -> list[float]:
    return [(time - at(0)).total_seconds() / 3600 for time in derive_onsets(table(rows), [name])[name]["time"]]


def test_both_within_their_hours_and_the_earlier_is_the_onset() -> None:
    def culture(hour: float) -> Row:
        return (1, hour, TAKEN)

    assert onsets([*STAY, *days(30), culture(54)])[0] == 30
    # Antibiotics at 30, 54, 78, 102: three days follow the first two, and only the second is within 24 h.
    assert onsets([*STAY, *days(30), culture(78)]) == [54]
    assert onsets([*STAY, *days(72), culture(0)]) == [0]
    assert onsets([*STAY, *days(73), culture(0)]) == []


def test_antibiotics_must_go_on_for_three_days_or_to_the_end() -> None:
    taken: Row = (1, 10, TAKEN)
    assert onsets([*STAY, (1, 10, DRUG), taken]) == []
    assert onsets([*STAY, *days(10, 3), taken])[0] == 10  # 10, 34, 58: the gap to hour 82 is 24 h
    assert onsets([*STAY, *days(10, 2), taken]) == []
    assert onsets([*STAY, (1, 10, DRUG), taken, (1, 30, "MEDS_DEATH")]) == [10]
    early: list[Row] = [STAY[0], (1, 30, "ICU_DISCHARGE//ALIVE"), (1, 10, DRUG), taken]
    assert onsets(early) == [10]
    assert onsets(early, until_discharge=False) == []


def test_an_order_counts_for_as_long_as_it_runs() -> None:
    taken: Row = (1, 10, TAKEN)
    begin: Row = (1, 10, f"{DRUG}//order")
    assert onsets([*STAY, begin, (1, 60, STOP), taken]) == [10]  # the gap to hour 82 is 22 h
    assert onsets([*STAY, begin, (1, 57, STOP), taken]) == []
    assert onsets([*STAY, begin, taken]) == [10]  # nobody stopped it
    # The short one ends first, the long one goes on.
    short: list[Row] = [(1, 11, f"{DRUG}//order"), (1, 12, STOP)]
    assert onsets([*STAY, begin, *short, (1, 60, STOP), taken]) == [10]
    noted: list[Row] = [(1, 10 + 24 * day, f"{DRUG}//noted") for day in range(4)]
    assert onsets([*STAY, *noted, taken])[0] == 10
    assert onsets([*STAY, *noted, taken], ignored_antibiotics="//noted$") == []


def test_screening_counts_only_where_asked_and_antibiotics_alone_without_any_culture() -> None:
    swab: Row = (1, 10, "CONCEPT//culture//screening")
    assert onsets([*STAY, *days(10), swab]) == []
    assert onsets([*STAY, *days(10), swab], ignored_cultures=None)[0] == 10
    assert onsets([*STAY, *days(10)])[0] == 10
    assert onsets([*STAY, *days(10)], rule="both") == []
    assert onsets([*STAY, *days(10), (1, 200, TAKEN)], rule="antibiotic")[0] == 10
    with pytest.raises(ConfigError, match="rule"):
        InfectionSettings(rule="either")  # type: ignore[arg-type]


def test_as_an_input_suspicion_is_told_when_the_second_of_the_two_comes() -> None:
    rows: list[Row] = [(1, 3, TAKEN), (1, 8, DRUG), (1, 20, DRUG), (1, 400, DRUG), (1, 410, TAKEN), (2, 5, DRUG)]
    found = suspected_infection(table(rows))
    told = [
        ((time - at(0)).total_seconds() / 3600, value) for time, value in found.select("time", "numeric_value").rows()
    ]
    assert told == [(8, 5), (410, 10)]
    assert suspected_infection(table([])).is_empty()


INFECTED: list[Row] = [*STAY, *days(50), (1, 50, TAKEN)]


def platelets(*values: tuple[float, float]) -> list[Row]:
    return [(1, hour, "CONCEPT//platelets", value) for hour, value in values]


def test_sepsis_is_a_rise_of_two_points_around_the_suspicion() -> None:
    rising = platelets((3, 200), (30, 180), (60, 90))
    assert sepsis([*INFECTED, *rising]) == [60]
    assert sepsis([*INFECTED, *rising], "sepsis3_recorded") == [60]
    assert sepsis([*INFECTED, *platelets((3, 200), (30, 180), (60, 120))]) == []  # one point
    assert sepsis([*INFECTED, *platelets((3, 200), (30, 180), (75, 90))]) == []  # after 24 h
    assert sepsis([*STAY, *rising]) == []  # nobody suspected an infection


def test_a_first_measurement_is_a_rise_only_by_the_recorded_rule() -> None:
    late: list[Row] = [*STAY, *days(100), (1, 100, TAKEN), *platelets((90, 90))]
    assert sepsis(late, "sepsis3_recorded") == [90]
    assert sepsis(late) == []


def test_who_comes_with_two_points_has_the_onset_at_admission_however_late_it_is_measured() -> None:
    for hour in (1, 7, 20):
        early: list[Row] = [*STAY, *days(10), (1, 10, TAKEN), *platelets((hour, 90))]
        assert sepsis(early) == [0]
        assert sepsis(early, "sepsis3_recorded") == [hour]


def test_the_baseline_is_the_lowest_of_the_window_so_far() -> None:
    rows = [*STAY, *days(100), (1, 100, TAKEN)]
    falling = platelets((40, 90), (60, 200), (90, 120), (110, 90))
    assert sepsis([*rows, *falling]) == [110]  # 2, 0 once the day is over, 1, 2
    assert sepsis([*rows, *platelets((40, 90), (60, 90), (80, 90), (100, 90))]) == []


def test_a_component_that_nobody_observes_for_a_day_keeps_its_points() -> None:
    rows = [*STAY, *days(100), (1, 100, TAKEN), *platelets((40, 90), (60, 90), (100, 90))]
    assert sepsis(rows) == []
    assert sepsis(rows, "sepsis3_recorded") == [100]  # from 84 on unobserved counted 0


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="rise"):
        SepsisSettings(rise=0)
