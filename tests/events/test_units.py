"""A table of units is applied site by site and value by value when a store is built, and changes nothing else."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from helpers.unit_hospitals import write_hospitals
from sojourn.errors import SchemaError
from sojourn.events import meds
from sojourn.events.build import build_store
from sojourn.events.inspect import inspect
from sojourn.events.store import EventStore
from sojourn.events.units import UNITS, UNITS_SCHEMA, is_marked, mark, read_rules, unmarked

CALCIUM, FIO2 = "LAB//ionized calcium//mg/dL", "LAB//FiO2//%"
CODES = {CALCIUM: ("ionized_calcium", "mg/dL", 0.25, 0.0), FIO2: ("fio2", "%", 1.0, 0.0)}
RECORDED = {
    ("north", CALCIUM): [4.4, 4.6],
    ("south", CALCIUM): [1.1, 1.2],
    ("west", CALCIUM): [77.0],
    ("south", FIO2): [0.5, 40.0, 3.0],
}


def fast_heart(events: pl.DataFrame) -> pl.DataFrame:
    """OUTCOME//fast wherever the heart rate, as a concept, is above 100."""
    is_fast = (pl.col("code") == "CONCEPT//heart_rate") & (pl.col("numeric_value") > 100)
    return events.filter(is_fast).select("subject_id", "time", code=pl.lit("OUTCOME//fast"))


def table(*rows: tuple[object, ...]) -> pl.DataFrame:
    """Rows of site, code, unit, scale, low, high, decision."""
    names = ("site", "code", "unit", "scale", "low", "high", "decision")
    told = [dict(zip(names, row, strict=True)) | {"offset": 0.0 if row[3] else None, "num_values": 1} for row in rows]
    return pl.DataFrame([{name: row.get(name) for name in UNITS_SCHEMA} for row in told], schema=UNITS_SCHEMA)


DECIDED = table(
    ("north", CALCIUM, "mg/dL", 0.25, None, None, "declared"),
    ("south", CALCIUM, "mmol/L", 1.0, None, None, "inferred"),
    ("west", CALCIUM, None, None, None, None, "refused"),
    ("south", FIO2, "fraction", 100.0, 0.2, 1.0, "mixed"),
    ("south", FIO2, "%", 1.0, 21.0, 100.0, "mixed"),
    ("south", FIO2, None, None, None, None, "refused"),
)


def dataset(folder: Path, units: pl.DataFrame | None = None) -> Path:
    write_hospitals(folder, RECORDED, CODES)
    if units is not None:
        meds.write_table(units, folder / UNITS)
    return folder


def held(store: Path) -> dict[tuple[str, str], list[float]]:
    """(site, code) -> values, ascending."""
    opened = EventStore.open(store)
    names, found = opened.vocabulary["code"], {}
    for row, site in enumerate(opened.subjects["site"]):
        subject = opened.subject(row)
        for code, value in zip(subject.code, subject.value, strict=True):
            found.setdefault((site, names[int(code)]), []).append(round(float(value), 3))
    return {place: sorted(values) for place, values in found.items()}


def arrays(store: Path) -> dict[str, bytes]:
    paths = [*(store / "shards").rglob("*.npy"), store / "vocabulary.parquet", store / "subjects.parquet"]
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in paths}


def test_values_are_converted_by_site_and_by_value(tmp_path: Path) -> None:
    report = build_store(tmp_path / "store", [dataset(tmp_path / "data", DECIDED)])
    assert held(tmp_path / "store") == {
        ("north", "CONCEPT//ionized_calcium"): [1.1, 1.15],
        ("south", "CONCEPT//ionized_calcium"): [1.1, 1.2],
        ("west", CALCIUM): [77.0],
        ("south", "CONCEPT//fio2"): [40.0, 50.0],
        ("south", FIO2): [3.0],
    }
    assert report.notes["values_unit_changed"] == 4
    assert report.notes["values_unit_refused"] == 2


def test_the_vocabulary_knows_refused_codes_as_local(tmp_path: Path) -> None:
    build_store(tmp_path / "store", [dataset(tmp_path / "data", DECIDED)])
    about = {row["code"]: row for row in EventStore.open(tmp_path / "store").vocabulary.iter_rows(named=True)}
    assert about["CONCEPT//ionized_calcium"]["concept"] == "ionized_calcium"
    assert about["CONCEPT//ionized_calcium"]["q50"] == pytest.approx(1.1, rel=0.01)
    assert (about[CALCIUM]["concept"], about[CALCIUM]["unit"]) == (None, None)
    assert about[CALCIUM]["description"] == CALCIUM.lower()


def test_a_table_that_agrees_with_the_codes_changes_no_byte(tmp_path: Path) -> None:
    agreeing = table(
        *((site, CALCIUM, "mg/dL", 0.25, None, None, "declared") for site in ("north", "south", "west")),
        ("south", FIO2, "%", 1.0, None, None, "declared"),
    )
    build_store(tmp_path / "without", [dataset(tmp_path / "a" / "data")])
    build_store(tmp_path / "with", [dataset(tmp_path / "b" / "data", agreeing)])
    assert arrays(tmp_path / "with") == arrays(tmp_path / "without")
    one, other = (EventStore.open(tmp_path / name).manifest["inputs"]["datasets"][0] for name in ("with", "without"))
    assert UNITS.as_posix() in one["files"]
    assert UNITS.as_posix() not in other["files"]


def test_workers_do_not_change_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sojourn.events.plan.PIECE_ROWS", 2)
    data = dataset(tmp_path / "data", DECIDED)
    build_store(tmp_path / "pieces", [data])
    monkeypatch.undo()
    build_store(tmp_path / "whole", [data])
    assert held(tmp_path / "pieces") == held(tmp_path / "whole")
    assert arrays(tmp_path / "pieces")["vocabulary.parquet"] == arrays(tmp_path / "whole")["vocabulary.parquet"]


def test_a_store_without_concepts_has_the_same_outcomes(tmp_path: Path) -> None:
    codes = {"VITAL//HR//x": ("heart_rate", "bpm", 2.0, 0.0)}
    data = write_hospitals(tmp_path / "data", {("north", "VITAL//HR//x"): [40.0, 70.0, 55.0]}, codes)
    stores = {}
    for name, use in (("with", True), ("without", False)):
        build_store(tmp_path / name, [data], derive=fast_heart, use_concepts=use)
        stores[name] = held(tmp_path / name)
    assert stores["without"]["north", "VITAL//HR//x"] == [40.0, 55.0, 70.0]
    assert stores["with"]["north", "CONCEPT//heart_rate"] == [80.0, 110.0, 140.0]
    outcomes = {
        name: {k: len(v) for k, v in found.items() if k[1].startswith("OUTCOME")} for name, found in stores.items()
    }
    assert outcomes["with"] == outcomes["without"] != {}
    vocabulary = EventStore.open(tmp_path / "without").vocabulary
    assert vocabulary.filter(pl.col("code") == "VITAL//HR//x").select("concept", "unit").row(0) == (None, "bpm")
    assert vocabulary["target_only"].to_list() == [code.startswith("OUTCOME") for code in vocabulary["code"]]


def test_inspection_tells_what_was_decided(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", DECIDED)
    found = inspect(data)
    assert found.counts["codes of a site, unit inferred"] == 1
    assert found.counts["codes of a site, unit refused"] == 1
    assert {row["decision"] for row in found.units} == {"inferred", "mixed", "refused"}
    build_store(tmp_path / "store", [data])
    assert inspect(tmp_path / "store").units == found.units
    assert any(table.title == "units" for table in inspect(tmp_path / "store").tables())


def test_rows_without_a_value_keep_their_code(tmp_path: Path) -> None:
    rules = read_rules(dataset(tmp_path / "data", DECIDED))
    rows = pl.DataFrame(
        {"site": ["west", "west", "north", None], "code": [CALCIUM] * 4, "numeric_value": [None, 7.0, 7.0, 7.0]},
        schema_overrides={"numeric_value": pl.Float32},
    )
    marked = mark(rows, rules.marks)
    assert marked.select(is_marked()).to_series().to_list() == [False, True, False, False]
    assert marked.select(unmarked()).to_series().to_list() == [CALCIUM] * 4
    assert rows["code"].to_list() == [CALCIUM] * 4  # what was given is as it was
    assert np.isnan(mark(rows.with_columns(numeric_value=np.nan), rules.marks)["numeric_value"][0])


def test_a_damaged_table_of_units_is_refused(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", DECIDED.drop("scale"))
    with pytest.raises(SchemaError, match=r"units\.parquet must have the columns .*scale"):
        build_store(tmp_path / "store", [data])
