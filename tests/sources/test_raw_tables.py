"""Raw tables in every form that hospitals and archives give them."""

import gzip
import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from sojourn.errors import MissingTableError, SchemaError
from sojourn.sources.frames import readable
from sojourn.sources.records import as_events, quarantine
from sojourn.sources.tables import RawTables

TEXT = 'x,y,Name\n1,2,a\n3\n"4\n4",5,"say ""b"""\n6,7,8,9\n,10,c\n'


def write(folder: Path, form: str, text: str = TEXT) -> RawTables:
    place = folder / "hosp"
    place.mkdir(parents=True)
    if form == "csv":
        (place / "things.csv").write_text(text)
    elif form == "csv.gz":
        (place / "things.csv.gz").write_bytes(gzip.compress(text.encode()))
    return RawTables(folder, pytest.fail)


@pytest.mark.parametrize("form", ["csv", "csv.gz"])
def test_rows_keep_their_numbers_and_text(tmp_path: Path, form: str) -> None:
    frames = list(write(tmp_path, form).batches("hosp/things", ["x", "y"], ["name"]))
    assert pl.concat(frames).rows() == [(0, "1", "2", "a"), (2, "4\n4", "5", 'say "b"'), (4, None, "10", "c")]


def test_malformed_rows_are_set_aside_with_their_number(tmp_path: Path) -> None:
    tables = write(tmp_path, "csv")
    batches = list(tables.stream("hosp/things", lambda frame: (as_events(), quarantine(frame, "tested")), ["x"]))
    assert sum(batch.num_rows for batch in batches) == 5
    rows = pl.concat([batch.quarantined for batch in batches]).sort("row")
    assert rows["row"].to_list() == [0, 1, 2, 3, 4]
    assert rows["reason"].to_list() == ["tested", "malformed_row", "tested", "malformed_row", "tested"]
    assert rows["record"][3] == '{"text":"6,7,8,9"}'


def test_rows_are_numbered_over_many_blocks(tmp_path: Path) -> None:
    count = 300_000
    lines = (f"{i},{'z' * 60}" if i % 1000 else "odd" for i in range(count))
    tables = write(tmp_path, "csv.gz", "x,pad\n" + "\n".join(lines))
    frames = list(tables.batches("things", ["x"], batch_rows=50_000))
    assert len(frames) > 1
    table = pl.concat(frames)
    assert table.height == count - count // 1000
    assert (table["row"] == table["x"].cast(pl.UInt64)).all()


def test_parquet_keeps_its_types_and_is_preferred(tmp_path: Path) -> None:
    tables = write(tmp_path, "csv")
    pl.DataFrame({"X": [1.5, None], "y": ["a", "b"]}).write_parquet(tmp_path / "hosp" / "things.parquet")
    tables = RawTables(tmp_path, pytest.fail)
    (frame,) = tables.batches("hosp/things", ["x", "y"])
    assert frame.schema == {"row": pl.UInt64, "x": pl.Float64, "y": pl.String}
    assert frame.rows() == [(0, 1.5, "a"), (1, None, "b")]


def test_names_are_found_in_any_case_and_folder(tmp_path: Path) -> None:
    (tmp_path / "eicu-2.0").mkdir()
    (tmp_path / "eicu-2.0" / "vitalPeriodic.csv").write_text("a\n1\n")
    tables = RawTables(tmp_path, pytest.fail)
    assert tables.find("vitalperiodic") == tables.find("x/vitalPeriodic") == tmp_path / "eicu-2.0" / "vitalPeriodic.csv"
    assert tables.find("periodic") is None
    assert tables.names() == ["eicu-2.0/vitalPeriodic"]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    write(tmp_path, "csv")
    warnings: list[str] = []
    tables = RawTables(tmp_path, warnings.append)
    assert tables.read("icu/chartevents", ["x"], lost="vital signs") is None
    assert next(tables.batches("hosp/things", ["x"], ["unit"]))["unit"].to_list() == [None] * 3
    assert warnings == [
        "table icu/chartevents is missing: vital signs will be missing",
        "column unit of hosp/things is missing: it is taken as unknown",
    ]


def test_a_table_without_a_needed_column_is_lost_as_one_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, "csv")
    warnings: list[str] = []
    tables = RawTables(tmp_path, warnings.append)
    assert tables.read("hosp/things", ["x", "charttime", "itemid"], lost="vital signs") is None
    assert list(tables.stream("hosp/things", lambda frame: (as_events(), frame), ["charttime"])) == []
    assert warnings == [
        "table hosp/things lacks the column(s) charttime, itemid: vital signs will be missing",
        "table hosp/things lacks the column(s) charttime: its events will be missing",
    ]


def test_a_table_without_which_nothing_works_is_an_error_with_its_columns(tmp_path: Path) -> None:
    write(tmp_path, "csv")
    tables = RawTables(tmp_path, pytest.fail)
    assert tables.read_needed("hosp/things", ["x"], why="nobody is known").height == 3
    with pytest.raises(MissingTableError, match=r"things .* the column\(s\) charttime; .* nobody is known"):
        tables.read_needed("hosp/things", ["charttime"], why="nobody is known")
    with pytest.raises(MissingTableError, match="must hold hosp/stays, without which nobody is known"):
        tables.read_needed("hosp/stays", why="nobody is known")


def test_bytes_that_are_no_text_do_not_stop_a_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,caf\xe9\n2,\xc3\xa9\n")
    frame = RawTables(tmp_path, pytest.fail).read("t", ["a", "b"])
    assert frame is not None
    assert frame["b"].to_list() == ["caf�", "é"]


@pytest.mark.parametrize("form", ["csv", "csv.gz"])
def test_a_malformed_row_with_such_a_byte_is_set_aside_alone(tmp_path: Path, form: str) -> None:
    """It refused the whole file."""
    content = b"a,b\n1,x\n2,caf\xe9,3\n4,\xe2\x82\n"
    (tmp_path / f"t.{form}").write_bytes(gzip.compress(content) if form.endswith("gz") else content)
    tables = RawTables(tmp_path, pytest.fail)
    batches = list(tables.stream("t", lambda frame: (as_events(), quarantine(frame, "tested")), ["a", "b"]))
    rows = pl.concat([batch.quarantined for batch in batches]).sort("row")
    assert rows["reason"].to_list() == ["tested", "malformed_row", "tested"]
    assert rows["record"][1] == '{"text":"2,caf�,3"}'
    assert "�" in rows["record"][2]


def test_a_truncated_file_is_an_error_with_its_place(tmp_path: Path) -> None:
    whole = gzip.compress(TEXT.encode() * 1000)
    (tmp_path / "t.csv.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "p.parquet").write_bytes(b"PAR1 and no more")
    tables = RawTables(tmp_path, pytest.fail)
    for name in ("t", "p"):
        with pytest.raises(SchemaError, match=rf"{name}\.(csv\.gz|parquet) must be a whole"):
            tables.read(name, ["x"])


@pytest.mark.parametrize("form", ["csv", "csv.gz"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_header_alone_has_no_rows(tmp_path: Path, form: str, end: str) -> None:
    tables = write(tmp_path, form, f'x,y,"a ""name"""{end}')
    assert tables.columns("things") == ["x", "y", 'a "name"']
    assert list(tables.batches("things", ["x"])) == []


@pytest.mark.parametrize("text", ["x,y\n1,2", "x,y\r1,2\r", "x,y\r\n1,2\r\n"])
def test_a_single_row_is_read(tmp_path: Path, text: str) -> None:
    (frame,) = write(tmp_path, "csv.gz", text).batches("things", ["x", "y"])
    assert frame.rows() == [(0, "1", "2")]


def test_an_empty_table_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n")
    assert sum(frame.height for frame in RawTables(tmp_path, pytest.fail).batches("t", ["a"])) == 0
    pl.DataFrame(schema={"a": pl.Int64}).write_parquet(tmp_path / "p.parquet")
    assert sum(frame.height for frame in RawTables(tmp_path, pytest.fail).batches("p", ["a"])) == 0


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingTableError, match="must be a folder"):
        RawTables(tmp_path / "nowhere", pytest.fail)


def test_rows_that_an_open_quotation_mark_swallowed_are_set_aside_and_said(tmp_path: Path) -> None:
    """They went into one cell of the row, which gave an event, and nothing was said."""
    rows = "".join(f"{i},3,c\n" for i in range(2, 40))
    write(tmp_path, "csv", f'x,y,Name\n0,3,"a"\n1,3,"b\n{rows}')
    for asked in (["x", "name"], ["x"]):  # whether or not anybody asks for the column in which it stands
        warnings: list[str] = []
        tables = RawTables(tmp_path, warnings.append)
        batches = list(tables.stream("things", lambda frame: (as_events(), quarantine(frame, "tested")), asked))
        assert sum(batch.num_rows for batch in batches) == 2
        set_aside = pl.concat([batch.quarantined for batch in batches])
        assert set_aside["reason"].to_list() == ["tested", "unclosed_quote"]
        record = json.loads(set_aside["record"][1])
        assert record == {"text": f'1,3,"b\n{rows}"'}
        assert len(warnings) == 1
        assert "things.csv: a quotation mark in row 1 (from 0) is never closed, so that the 38 lines" in warnings[0]
    assert [row["x"] for frame in tables.batches("things", ["x"]) for row in frame.to_dicts()] == ["0"]


def test_rows_after_a_mark_that_another_one_closes_keep_their_numbers(tmp_path: Path) -> None:
    text = 'x,y,Name\n0,3,"a\n1,3,b\n2,3,"c"\n3,3,d\n4,"e\n5,3,"f"\n6,3,g\n'
    warnings: list[str] = []
    write(tmp_path, "csv", text)
    tables = RawTables(tmp_path, warnings.append)
    batches = list(tables.stream("things", lambda frame: (as_events(), quarantine(frame, "tested")), ["x"]))
    rows = pl.concat([batch.quarantined for batch in batches]).sort("row")
    # What was swallowed has no number: the rows are those that were read.
    assert rows.select("row", "reason").rows() == [
        (0, "unclosed_quote"),
        (1, "tested"),
        (2, "unclosed_quote"),
        (3, "tested"),
    ]
    assert [json.loads(rows["record"][i]).get("x") for i in (1, 3)] == ["3", "6"]
    assert "row 0, 2 (from 0) is never closed, so that the 3 lines" in warnings[0]


def test_a_row_longer_than_a_block_is_an_error_that_names_the_mark(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('x,y\n1,"open\n' + "2,closed\n" * 2_000_000)
    with pytest.raises(SchemaError, match=r"t\.csv must have rows of less than 8 MiB; .* quotation mark"):
        list(RawTables(tmp_path, pytest.fail).batches("t", ["x"]))


def test_what_a_reader_says_never_quotes_a_row(tmp_path: Path) -> None:
    said = (
        "CSV parse error: Row #3: Expected 4 columns, got 2: 10001,secret",
        "In CSV column #1: CSV conversion error to int64: invalid value 'secret'",
        "'secret'",
    )
    for text in said:
        with pytest.raises(SchemaError, match=r"t\.csv must be a whole") as caught, readable(tmp_path / "t.csv"):
            raise pa.ArrowInvalid(text)
        assert "secret" not in str(caught.value)
