"""Tables of a database give the same events as files, and nobody ever sees its password."""

import sqlite3
from pathlib import Path

import polars as pl
import pytest

from sojourn.errors import ConfigError, DataError, MissingTableError
from sojourn.files import read_json
from sojourn.sources.database import DatabaseTables, database_url, without_secrets
from sojourn.sources.ingest import ingest

SECRET = "hunter2"
PERSONS = "person_id,gender_concept_id,year_of_birth\n1,8507,1950\n2,8532,1960\n"
MEASUREMENTS = (
    "measurement_id,person_id,measurement_concept_id,measurement_date,measurement_datetime,value_as_number\n"
    "2,2,0,2020-01-01,2020-01-01 11:00:00,2.5\n1,1,3,2020-01-01,2020-01-01 10:00:00,1.5\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tables as files."""
    place = tmp_path / "files"
    place.mkdir()
    (place / "person.csv").write_text(PERSONS)
    (place / "measurement.csv").write_text(MEASUREMENTS)
    return place


@pytest.fixture
def sqlite_file(folder: Path) -> Path:
    """The same tables in SQLite."""
    pytest.importorskip("sqlalchemy")
    path = folder.parent / "omop.sqlite"
    with sqlite3.connect(path) as client:
        client.execute(
            "CREATE TABLE Person (person_id INTEGER PRIMARY KEY, gender_concept_id INTEGER, year_of_birth INTEGER)"
        )
        client.execute(
            "CREATE TABLE MEASUREMENT (measurement_id INTEGER PRIMARY KEY, person_id INTEGER,"
            " measurement_concept_id INTEGER, measurement_date TEXT, measurement_datetime TEXT, value_as_number REAL)"
        )
        client.executemany("INSERT INTO Person VALUES (?, ?, ?)", pl.read_csv(folder / "person.csv").rows())
        client.executemany(
            "INSERT INTO MEASUREMENT VALUES (?, ?, ?, ?, ?, ?)", pl.read_csv(folder / "measurement.csv").rows()
        )
    client.close()
    return path


@pytest.fixture
def duckdb_file(folder: Path) -> Path:
    """The same tables in DuckDB."""
    duckdb = pytest.importorskip("duckdb")
    path = folder.parent / "omop.duckdb"
    client = duckdb.connect(str(path))
    for name in ("person", "measurement"):
        client.execute(f"CREATE TABLE {name} AS SELECT * FROM read_csv('{folder / name}.csv')")
    client.close()
    return path


def _bytes(dataset: Path) -> bytes:
    return (dataset / "data" / "0.parquet").read_bytes()


def test_databases_give_the_same_bytes_as_files(folder: Path, sqlite_file: Path, duckdb_file: Path) -> None:
    out = folder.parent
    ingest("omop", folder, out / "a")
    ingest("omop", f"sqlite:///{sqlite_file}", out / "b")
    ingest("omop", duckdb_file, out / "c")
    ingest("omop", f"duckdb:///{duckdb_file}", out / "d")
    assert _bytes(out / "a") == _bytes(out / "b") == _bytes(out / "c") == _bytes(out / "d")


def test_rows_come_in_the_order_of_the_key_in_pieces(sqlite_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sojourn.sources.database._ROWS", 1)
    tables = DatabaseTables(f"sqlite:///{sqlite_file}", lambda warning: None)
    frames = list(tables.batches("measurement", ("Person_ID",), batch_rows=1))
    assert [frame.rows() for frame in frames] == [[(0, 1)], [(1, 2)]]
    assert tables.names() == ["measurement", "person"]
    assert tables.columns("nothing") == []


def test_a_piece_without_a_value_fits_the_others(sqlite_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(sqlite_file) as client:
        client.execute("CREATE TABLE note (note_id INTEGER PRIMARY KEY, text TEXT, score REAL)")
        client.executemany("INSERT INTO note VALUES (?, ?, ?)", [(1, None, None), (2, "told", 0.5)])
    client.close()
    monkeypatch.setattr("sojourn.sources.database._ROWS", 1)
    tables = DatabaseTables(f"sqlite:///{sqlite_file}", lambda warning: None)
    expected = [(0, 1, None, None), (1, 2, "told", 0.5)]
    columns = ("note_id", "text", "score")
    assert next(tables.batches("note", columns)).rows() == expected
    monkeypatch.setattr("sojourn.sources.database.regroup", lambda frames, batch_rows: frames)
    whole = tables.read("note", columns)
    assert whole is not None
    assert whole.rows() == expected


def test_absent_tables_and_columns_are_said(sqlite_file: Path) -> None:
    warnings: list[str] = []
    tables = DatabaseTables(f"sqlite:///{sqlite_file}", warnings.append)
    assert list(tables.batches("death", ("person_id",), lost="deaths")) == []
    (frame,) = tables.batches("person", ("person_id",), ("care_site_id",))
    assert frame["care_site_id"].to_list() == [None, None]
    assert warnings == [
        "table death is missing: deaths will be missing",
        "column care_site_id of person is missing: it is taken as unknown",
    ]
    assert list(tables.batches("person", ("location_id",), lost="homes")) == []
    assert warnings[2:] == ["table person lacks the column(s) location_id: homes will be missing"]
    with pytest.raises(MissingTableError, match="location_id"):
        list(tables.batches("person", ("location_id",), why="nobody is known"))


def test_a_second_call_finds_the_data_set_and_another_state_is_refused(folder: Path, sqlite_file: Path) -> None:
    out = folder.parent / "out"
    assert not ingest("omop", f"sqlite:///{sqlite_file}", out).already_there
    assert ingest("omop", f"sqlite:///{sqlite_file}", out).already_there
    with sqlite3.connect(sqlite_file) as client:
        client.execute("INSERT INTO Person VALUES (3, 8507, 1970)")
    client.close()
    with pytest.raises(DataError, match="something else"):
        ingest("omop", f"sqlite:///{sqlite_file}", out)


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("duckdb")
    with pytest.raises(ConfigError, match="does not exist"):
        ingest("omop", f"sqlite:///{tmp_path / 'no.sqlite'}", tmp_path / "out")
    with pytest.raises(ConfigError, match="must be a database that can be read"):
        ingest("omop", f"duckdb:///{tmp_path / 'no.duckdb'}", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_the_password_is_in_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("psycopg")
    for url in (
        f"postgresql://reader:{SECRET}@localhost:1/omop?connect_timeout=1",
        f"postgresql://reader:{SECRET}@localhost:port/omop",
        f"nothing+like:that://reader:{SECRET}@host",
        f"oddsql://reader:{SECRET}@host/omop",
    ):
        with pytest.raises((ConfigError, DataError)) as caught:
            ingest("omop", url, tmp_path / "out")
        shown = "".join([str(caught.value), repr(caught.value.__cause__), *map(str, capsys.readouterr())])
        assert SECRET not in shown
    assert not (tmp_path / "out").exists()


def test_the_report_names_no_database(folder: Path, duckdb_file: Path) -> None:
    out = folder.parent / "out"
    report = ingest("omop", duckdb_file, out)
    assert set(read_json(out / "metadata" / "ingest.json")) == set(report.to_json())
    assert str(duckdb_file) not in str(report.to_json()), "the report names no place at all"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://reader:secret@host/omop", "postgresql://reader@host/omop"),
        ("postgresql://reader:se@cret@host/omop?options=-csearch_path=cdm", "postgresql://reader@host/omop"),
        ("postgresql+psycopg://host/omop", "postgresql+psycopg://host/omop"),
        ("sqlite:////data/omop.sqlite", "sqlite:////data/omop.sqlite"),
    ],
)
def test_urls_are_shown_without_secrets(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


def test_files_that_are_no_database_are_none(tmp_path: Path) -> None:
    assert database_url(tmp_path) is None
    assert database_url("raw/mimic") is None
    assert database_url(tmp_path / "a.sqlite3") == f"sqlite:///{tmp_path / 'a.sqlite3'}"


def test_sources_that_read_files_only_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="folder or file for eicu"):
        ingest("eicu", f"postgresql://reader:{SECRET}@host/omop", tmp_path / "out")
