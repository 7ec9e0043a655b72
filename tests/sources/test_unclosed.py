"""Which lines of a cell are rows of the table, and which are a note's."""

import csv
import io

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.sources.unclosed import Malformed, RowLines, describe_unclosed

HEADER = ["id", "time", "note"]


def found(note: str, *, first: str = "7") -> dict[int, int]:
    """Rows swallowed by the second of two rows, whose note this is."""
    rows = {"id": ["6", first], "time": ["2020-01-01", "2020-01-02"], "note": [None, note]}
    batch = pa.RecordBatch.from_pydict(rows, schema=pa.schema(dict.fromkeys(HEADER, pa.large_string()).items()))
    return RowLines(HEADER, ",", '"').in_batch(batch)


@pytest.mark.parametrize(
    ("note", "count"),
    [
        ("see below\n8,2020-01-03,fine\n", 1),
        ("see below\r\n8,2020-01-03,fine\r\n10,2020-01-03,\r\n", 2),
        ("\n8,2020-01-03,fine", 1),
        ('see\n8,2020-01-03,",of two fields, with marks"\n9,2020-01-03,x', 2),
        ("see\n" + "8,2020-01-03,fine\n" * 20 + "9,malformed", 21),
    ],
)
def test_lines_that_are_rows_are_counted(note: str, count: int) -> None:
    assert found(note) == {1: count}


@pytest.mark.parametrize(
    "note",
    [
        "of one line, with commas, and more",
        "first, second\nthird, fourth, fifth\nsixth",
        "Plan:\n1, give fluids, 500 mL\nand wait, if needed, for an hour",
        "Dose\n1,5 mg",
        "8,2020-01-03,fine",
        "a\nb,c,d\ne,f,g",  # as long as rows, but no ids
        "\n\n",
        "x\n" + "y" * 200_000 + ",,",  # longer than a field may be
    ],
)
def test_notes_with_line_breaks_and_commas_stay(note: str) -> None:
    assert found(note) == {}


def test_ids_of_letters_and_digits_are_of_one_shape() -> None:
    assert found("see\nb7-1,2020-01-03,fine\n03-22,2020-01-03,fine\n", first="4e-12") == {}
    assert found("see\nb7-1,2020-01-03,fine\n0c-22,2020-01-03,fine\n", first="4e-12") == {1: 2}


def test_a_cell_in_another_column_ends_in_the_same_column_of_a_later_row() -> None:
    lines = RowLines(["id", "time", "note", "by"], ",", '"')
    assert lines.in_text('7,2020-01-02,"see,x\n8,2020-01-03,"fine",y,z') == 0
    assert lines.in_text('7,2020-01-02,"see,x\n8,2020-01-03,"fine",y') == 1
    cells = {"id": ["7"], "time": ["2020-01-02"], "note": ['see,x\n8,2020-01-03,z,x\n9,2020-01-03,fine"'], "by": ["y"]}
    assert lines.in_batch(pa.RecordBatch.from_pydict(cells)) == {0: 2}
    cells["note"] = ["see,x\n8,2020-01-03,z,x\n9,and this is a note"]
    assert lines.in_batch(pa.RecordBatch.from_pydict(cells)) == {}


def test_nothing_is_swallowed_where_nothing_is_quoted() -> None:
    batch = pa.RecordBatch.from_pydict({"id": ["1"], "time": ["x"], "note": ["a\n2,y,b\n"]})
    assert RowLines(HEADER, ",", None).in_batch(batch) == {}
    assert RowLines(HEADER, ",", None).in_text("1,x\n2,y,b") == 0


@given(cells=st.lists(st.text(alphabet='a1,"\n é'), min_size=3, max_size=3))
def test_the_text_of_a_row_reads_as_the_row(cells: list[str]) -> None:
    named = zip(HEADER, cells, strict=True)
    batch = pa.RecordBatch.from_pydict({name: [cell] for name, cell in sorted(named)})
    text = RowLines(HEADER, ",", '"').text_of(batch, 0)
    assert next(csv.reader(io.StringIO(text, newline=""))) == cells


def test_the_warning_names_some_rows_and_all_lines() -> None:
    odd = [Malformed(row, "", 2) for row in (4, 0, 1, 2, 3)]
    said = describe_unclosed("t.csv", [Malformed(9, ""), *odd], "Do this.")
    assert said is not None
    assert said.startswith("t.csv: a quotation mark in row 0, 1, 2 and 2 more (from 0) is never closed, so that the 10")
    assert said.endswith("Do this.")
    assert describe_unclosed("t.csv", [Malformed(9, "")], "Do this.") is None
