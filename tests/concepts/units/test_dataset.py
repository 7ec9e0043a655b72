"""Unit inference of a whole data set: what is declared, counted, decided, overridden and written."""

from pathlib import Path

import polars as pl
import pytest

from helpers.unit_hospitals import write_hospitals
from sojourn.concepts.units import infer_units
from sojourn.concepts.units.declared import declared_units
from sojourn.concepts.units.tally import tally_values
from sojourn.errors import ConfigError, DataError
from sojourn.events import meds
from sojourn.events.units import UNITS, read_units

CALCIUM = "LAB//ionized calcium//mg/dL"
FIO2 = "LAB//FiO2"
CODES = {
    CALCIUM: ("ionized_calcium", "mg/dL", 0.249500998003992, 0.0),
    FIO2: ("fio2", "%", 1.0, 0.0),
}
RECORDED = {
    ("north", CALCIUM): [4.4, 4.6, 4.5, 4.9, 4.2, 4.6],
    ("south", CALCIUM): [1.1, 1.15, 1.2, 1.0, 1.18, 1.12],
    ("south", FIO2): [0.4, 0.5, 1.0, 40.0, 50.0, 60.0, 100.0, 3.0],
    (None, FIO2): [21.0, 40.0, 60.0],
}


@pytest.fixture
def hospitals(tmp_path: Path) -> Path:
    return write_hospitals(tmp_path / "two", RECORDED, CODES)


def rows(dataset: Path) -> dict[tuple[str | None, str], list[dict[str, object]]]:
    table = read_units(dataset)
    assert table is not None
    found: dict[tuple[str | None, str], list[dict[str, object]]] = {}
    for row in table.iter_rows(named=True):
        found.setdefault((row["site"], row["code"]), []).append(row)
    return found


def test_each_site_gets_its_own_unit(hospitals: Path) -> None:
    report = infer_units(hospitals)
    assert (report.num_pairs, report.declared, report.inferred, report.mixed, report.refused) == (4, 2, 1, 1, 0)
    assert report.values_refused == 1
    found = rows(hospitals)
    ((north,), (south,)) = found["north", CALCIUM], found["south", CALCIUM]
    assert (north["decision"], north["unit"], north["scale"]) == ("declared", "mg/dL", 0.249500998003992)
    assert (south["decision"], south["unit"], south["scale"]) == ("inferred", "mmol/L", 1.0)
    assert (south["declared_unit"], south["concept_unit"], south["num_values"]) == ("mg/dL", "mmol/L", 6)
    fraction, percent, rest = found["south", FIO2]
    assert [row["num_values"] for row in (fraction, percent, rest)] == [3, 4, 1]
    assert (rest["decision"], rest["reason"], rest["scale"]) == ("refused", "outside_all_units", None)
    assert found[None, FIO2][0]["decision"] == "declared"


def test_the_table_is_the_same_every_time(hospitals: Path) -> None:
    infer_units(hospitals)
    first = (hospitals / UNITS).read_bytes()
    infer_units(hospitals)
    assert (hospitals / UNITS).read_bytes() == first


def test_shards_do_not_matter(hospitals: Path, tmp_path: Path) -> None:
    """What is counted in several shards is what is counted in one."""
    whole = tally_values(hospitals, CODES)
    table = pl.read_parquet(hospitals / "data" / "0.parquet")
    middle = int(table["subject_id"].median() or 0)
    for k, part in enumerate(
        (table.filter(pl.col("subject_id") <= middle), table.filter(pl.col("subject_id") > middle))
    ):
        meds.write_table(part, tmp_path / "parts" / "data" / f"{k}.parquet")
    parts = tally_values(tmp_path / "parts", CODES)
    assert parts.bins.equals(whole.bins)
    assert parts.pairs.equals(whole.pairs)


@pytest.mark.parametrize("suffix", [".csv", ".yaml"])
def test_an_override_goes_before_everything_and_is_kept(hospitals: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"units{suffix}"
    if suffix == ".csv":
        path.write_text("site,concept,code,unit\n,ionized_calcium,,mEq/L\nnorth,ionized_calcium,,raw\n")
    else:
        path.write_text(
            "- {concept: ionized_calcium, unit: mEq/L}\n- {site: north, concept: ionized_calcium, unit: raw}\n"
        )
    assert infer_units(hospitals, overrides=path).overridden == 2
    assert infer_units(hospitals).overridden == 2  # the file is gone from the call, not from the data set
    found = rows(hospitals)
    assert found["south", CALCIUM][0]["scale"] == 0.5
    assert found["north", CALCIUM][0]["scale"] is None


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("concept,unit\nfio2,furlong\n", "must name a unit of fio2 .*got 'furlong'"),
        ("site,unit\nnorth,%\n", "concept or code"),
        ("concept,unit,colour\nfio2,%,red\n", "no columns but"),
    ],
)
def test_a_wrong_override_is_refused(hospitals: Path, tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "units.csv").write_text(text)
    with pytest.raises(ConfigError, match=match):
        infer_units(hospitals, overrides=tmp_path / "units.csv")
    assert not (hospitals / UNITS).exists()


def test_overrides_that_speak_of_nothing_are_told(hospitals: Path, tmp_path: Path) -> None:
    """A misspelt name was ignored silently."""
    (tmp_path / "units.csv").write_text(
        "site,concept,code,unit\nsouth,ionized_calcium,,mEq/L\nsoth,ionized_calcium,,mEq/L\n,ionised_calcium,,mEq/L\n"
    )
    report = infer_units(hospitals, overrides=tmp_path / "units.csv")
    assert report.overridden == 1
    assert set(report.unused_overrides) == {
        "site soth, concept ionized_calcium: mEq/L",
        "concept ionised_calcium: mEq/L",
    }


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be a MEDS data set"):
        infer_units(tmp_path)


def test_what_counts_as_declared() -> None:
    """A conversion that changes the value, one of the package's tables, the code's unit; else nobody has said."""
    codes = pl.DataFrame(
        {
            "code": ["A", "B", "C", "CHART//226531", "E"],
            "concept": ["calcium", "calcium", "calcium", "weight", "sodium"],
            "unit": ["mmol/L", "mmol/L", None, None, None],
            "scale": [4.008, 1.0, 1.0, 0.45359237, 1.0],
            "offset": [0.0] * 5,
        }
    )
    found = {each.code: each.unit for each in declared_units(codes, "mimic-iv")}
    assert found["A"] is not None
    assert found["A"][:2] == ("mmol/L", 4.008)
    assert found["B"] is not None
    assert found["B"][:2] == ("mmol/L", 4.008)
    assert found["C"] is None
    assert found["CHART//226531"] is not None
    assert found["CHART//226531"].name == "lb"
    assert found["E"] is not None
    assert found["E"].name == "mmol/L"
