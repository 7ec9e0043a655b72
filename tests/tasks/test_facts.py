"""What is known of a stay beside its course."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from helpers.grid_records import icu_stay, measured
from helpers.task_records import Row, at, table
from sojourn.pipeline import build
from sojourn.tasks.cells import number_stays
from sojourn.tasks.facts import FACTS_SCHEMA, describe_stays, iterate_facts

HOURS_OF_50_YEARS = 50 * 365.25 * 24

PEOPLE: list[list[Row]] = [
    [(1, -HOURS_OF_50_YEARS, "MEDS_BIRTH"), (1, None, "GENDER//F"), *icu_stay(1, 0, 5)],
    [(2, None, "GENDER//M"), *icu_stay(2, 0, 5), *icu_stay(3, 1, 5)],
]


@pytest.mark.parametrize("as_store", [False, True])
def test_facts_of_a_data_set_and_of_its_store_are_the_same(
    write_meds: Callable[..., Path], tmp_path: Path, as_store: bool
) -> None:
    dataset = write_meds(*PEOPLE)
    if as_store:
        build(tmp_path / "store", [dataset])
        dataset = tmp_path / "store"
    facts = pl.concat(list(iterate_facts(dataset))).sort("subject_id")
    assert facts.schema == pl.Schema(FACTS_SCHEMA)
    assert facts.rows() == [
        (1, "hospital_0", at(-HOURS_OF_50_YEARS), "F"),
        (2, "hospital_1", None, "M"),
        (3, "hospital_1", None, None),
    ]


def stays_of_subject(*spans: tuple[float, float]) -> pl.DataFrame:
    raw = pl.DataFrame(
        [(1, at(start), at(end)) for start, end in spans],
        schema={"subject_id": pl.Int64, "anchor": pl.Datetime("us"), "stay_end": pl.Datetime("us")},
        orient="row",
    )
    return number_stays(raw, 1, 168, whole_last_cell=False)


def test_sizes_are_the_last_up_to_the_admission_else_the_first_of_the_stay() -> None:
    rows = measured(1, "weight", (-48, 70), (10, 72), (20, 75), (60, 80), (130, 90))
    rows += measured(1, "height", (30, 180))
    facts = pl.DataFrame([(1, "a", at(-HOURS_OF_50_YEARS), "F")], schema=FACTS_SCHEMA, orient="row")
    described = describe_stays(stays_of_subject((10, 25), (50, 90), (120, 125)), table(rows), facts)
    assert described["weight"].to_list() == [72, 75, 80]
    assert described["height"].to_list() == [None, 180, 180]
    assert described["age"].round(3).to_list() == [50.001, 50.006, 50.014]
    assert described["stay"].to_list() == [1, 2, 3]


def test_a_size_first_known_in_the_stay_counts_and_one_after_it_does_not() -> None:
    facts = pl.DataFrame(schema=FACTS_SCHEMA)
    rows = measured(1, "weight", (12, 64), (13, 66)) + measured(1, "height", (26, 170))
    described = describe_stays(stays_of_subject((10, 25)), table(rows), facts)
    assert described.select("weight", "height", "age", "sex").row(0) == (64, None, None, None)
