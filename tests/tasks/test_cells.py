"""Events into cells, on stays small enough to count by hand."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.grid_records import column, icu_stay, measured
from helpers.task_records import Row, at, table
from sojourn.tasks.cells import CELL_KEYS, Placed, fill_forward, lay_cells, number_stays, place_values
from sojourn.tasks.grid_variables import AGGREGATIONS, GridVariable

LACTATE = GridVariable("lactate", ("lactate",), "median", 0.1, 35)
URINE = GridVariable("urine", ("urine_output",), "sum", 0, 5000)


def stays(*spans: tuple[int, float, float]) -> pl.DataFrame:
    """Stays from (subject, hour of admission, hour of discharge)."""
    return pl.DataFrame(
        [(subject, at(start), at(end)) for subject, start, end in spans],
        schema={"subject_id": pl.Int64, "anchor": pl.Datetime("us"), "stay_end": pl.Datetime("us")},
        orient="row",
    )


def place(
    rows: list[Row],
    *spans: tuple[int, float, float],
    variables: tuple[GridVariable, ...] = (LACTATE,),
    every: float = 1,
    most: float = 168,
    whole: bool = False,
) -> Placed:
    numbered = number_stays(stays(*spans), every, most, whole_last_cell=whole)
    return place_values(table(rows), numbered, variables, every)


def test_a_value_stands_in_the_hour_that_has_begun() -> None:
    rows = measured(1, "lactate", (5.0, 1), (5.99, 3), (6.0, 7), (7.5, 9))
    placed = place(rows, (1, 5, 8))
    assert placed.values.columns == [*CELL_KEYS, "lactate"]
    assert placed.values["cell"].to_list() == [0, 1, 2]
    assert column(placed.values, "lactate") == [2, 7, 9]
    assert placed.counts["lactate"].to_list() == [2, 1, 1]


def test_what_is_before_or_after_the_stay_stands_nowhere() -> None:
    rows = measured(1, "lactate", (4.99, 1), (7.5, 2), (7.51, 3), (20, 4))
    assert column(place(rows, (1, 5, 7.5)).values, "lactate") == [None, None, 2]


def test_yaibs_last_cell_counts_as_a_whole() -> None:
    rows = measured(1, "lactate", (7.5, 2), (7.99, 4), (8, 9))
    assert column(place(rows, (1, 5, 7.5), whole=True).values, "lactate") == [None, None, 3]
    on_border = place(rows, (1, 5, 8), whole=True)
    assert column(on_border.values, "lactate") == [None, None, 3, 9]


@pytest.mark.parametrize(("whole", "cells"), [(False, 168), (True, 169)])
def test_a_long_stay_ends_at_its_limit(whole: bool, cells: int) -> None:
    placed = place(measured(1, "lactate", (167.9, 1), (168.2, 2), (169.1, 3)), (1, 0, 500), whole=whole)
    assert placed.values.height == cells
    assert column(placed.values, "lactate")[-2:] == ([None, 1] if not whole else [1, 2])


def test_stays_of_a_subject_are_numbered_in_time_and_keep_apart() -> None:
    rows = measured(1, "lactate", (0.5, 1), (3, 2), (10.5, 4)) + measured(2, "lactate", (0.2, 8))
    placed = place(rows, (1, 10, 12), (1, 0, 2), (2, 0, 1))
    assert placed.values.rows() == [(1, 1, 0, 1), (1, 1, 1, None), (1, 2, 0, 4), (1, 2, 1, None), (2, 1, 0, 8)]


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [("median", 2.5), ("mean", 3.0), ("last", 2.0), ("first", 6.0), ("min", 1.0), ("max", 6.0), ("sum", 12.0)],
)
def test_every_aggregation_of_6_1_3_2(aggregation: str, expected: float) -> None:
    rows = measured(1, "lactate", (0.1, 6), (0.2, 1), (0.3, 3), (0.4, 2))
    variable = LACTATE._replace(aggregation=aggregation)
    assert column(place(rows, (1, 0, 1), variables=(variable,)).values, "lactate") == [expected]
    assert set(AGGREGATIONS) == {"median", "mean", "last", "first", "min", "max", "sum"}


def test_concepts_of_one_variable_stand_together_and_columns_keep_their_order() -> None:
    oxygen = GridVariable("o2sat", ("spo2", "sao2"), "median", 50, 100)
    rows = measured(1, "spo2", (0.1, 90)) + measured(1, "sao2", (0.2, 96)) + measured(1, "urine_output", (0.3, 40))
    placed = place(rows, (1, 0, 1), variables=(URINE, LACTATE, oxygen))
    assert placed.values.columns[3:] == ["urine", "lactate", "o2sat"]
    assert placed.values.row(0)[3:] == (40, None, 93)
    assert placed.counts.row(0)[3:] == (1, 0, 2)


def test_values_outside_their_limits_are_left_out_and_counted() -> None:
    rows = measured(1, "lactate", (0.1, 0.05), (0.2, 35), (0.3, 36), (50, 99))
    placed = place(rows, (1, 0, 2))
    assert column(placed.values, "lactate") == [35, None]
    assert placed.num_outside_limits == 2


def test_no_limit_leaves_nothing_out() -> None:
    free = LACTATE._replace(low=None, high=None)
    placed = place(measured(1, "lactate", (0.1, -5), (1.2, 900)), (1, 0, 2), variables=(free,))
    assert column(placed.values, "lactate") == [-5, 900]
    assert placed.num_outside_limits == 0


def test_a_stay_without_any_value_has_all_its_cells() -> None:
    placed = place([(1, 0.0, "LAB//x", None)], (1, 0, 2.5), (2, 0, 0))
    assert placed.values.rows() == [(1, 1, 0, None), (1, 1, 1, None), (1, 1, 2, None)]
    assert placed.counts["lactate"].to_list() == [0, 0, 0]


def test_a_stay_that_ends_before_it_begins_has_no_cell() -> None:
    numbered = number_stays(stays((1, 5, 4), (2, 0, 0)), 1, 168, whole_last_cell=False)
    assert numbered["num_cells"].to_list() == [0, 0]
    assert lay_cells(numbered).is_empty()
    assert number_stays(stays((1, 5, 4)), 1, 168, whole_last_cell=True)["num_cells"].to_list() == [0]


def test_cells_of_a_quarter_of_an_hour() -> None:
    rows = measured(1, "lactate", (0.24, 1), (0.25, 2), (0.5, 3))
    assert column(place(rows, (1, 0, 0.6), every=0.25).values, "lactate") == [1, 2, 3]


def test_filling_repeats_within_the_stay_and_never_an_output() -> None:
    rows = measured(1, "lactate", (0.5, 2)) + measured(1, "urine_output", (0.5, 100))
    placed = place(rows, (1, 0, 3), (2, 0, 1), variables=(LACTATE, URINE))
    filled = fill_forward(placed.values, (LACTATE, URINE))
    assert column(filled, "lactate") == [2, 2, 2, None]
    assert column(filled, "urine") == [100, None, None, None]
    # One aggregation for all columns changes neither what may be repeated nor what may not.
    same = fill_forward(placed.values, (LACTATE._replace(aggregation="sum"), URINE._replace(aggregation="mean")))
    assert same.equals(filled)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 20)), max_size=30),
    st.integers(1, 400),
    st.sampled_from([0.25, 0.5, 1, 2, 4]),
    st.booleans(),
)
def test_sums_over_cells_are_sums_over_the_stay(
    points: list[tuple[int, int]], minutes: int, every: float, whole: bool
) -> None:
    """No value is lost, doubled or moved over the border of its stay."""
    rows = measured(1, "urine_output", *((minute / 60, float(value)) for minute, value in points))
    rows += icu_stay(1, 0, minutes / 60)
    placed = place(rows, (1, 0, minutes / 60), variables=(URINE,), every=every, whole=whole)
    step = round(every * 60)
    end = (minutes // step + 1) * step - 1 if whole else min(minutes, -(-minutes // step) * step - 1)
    inside = [(minute, value) for minute, value in points if minute <= end]
    assert placed.values["urine"].sum() == sum(value for _, value in inside)
    assert placed.counts["urine"].sum() == len(inside)
    assert placed.values.height == (minutes // step + 1 if whole else -(-minutes // step))
