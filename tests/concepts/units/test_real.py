"""Units of the open demo data: what hospitals of eICU call mg/dL, and that MIMIC-IV is left alone."""

from pathlib import Path

import polars as pl
import pytest

from sojourn.concepts.units import infer_units
from sojourn.events import meds
from sojourn.events.units import read_units

pytestmark = pytest.mark.real

CONCEPT_OF = {"ionized calcium": "ionized_calcium", "magnesium": "magnesium", "FiO2": "fio2", "calcium": "calcium"}
OWN_SCALE = {"ionized_calcium": 1 / 4.008}
"""Conversion of the declared unit, where it is not the concept's own."""


@pytest.fixture(scope="module")
def raw_labs(sojourn_data: Path) -> pl.DataFrame:
    """Raw results by hospital: subject_id, site, concept, numeric_value, system and interface unit."""
    folder = sojourn_data / "eicu-demo"
    stays = pl.read_parquet(folder / "patient.parquet")
    site = "eicu-" + pl.col("hospitalid").cast(pl.String)
    labs = pl.read_parquet(folder / "lab_SUBSET_pyhealth.parquet").filter(pl.col("labname").is_in(list(CONCEPT_OF)))
    return labs.join(stays.select("patientunitstayid", site=site), on="patientunitstayid").select(
        pl.col("patientunitstayid").alias("subject_id"),
        "site",
        concept=pl.col("labname").replace_strict(CONCEPT_OF),
        numeric_value=pl.col("labresult").cast(pl.Float32),
        system="labmeasurenamesystem",
        interface="labmeasurenameinterface",
    )


@pytest.fixture(scope="module")
def eicu_units(raw_labs: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """Units of the raw results, each concept under one code with the unit that eICU's system column declares."""
    dataset = tmp_path_factory.mktemp("eicu")
    code = "LAB//" + pl.col("concept")
    rows = raw_labs.sort("subject_id").select(
        "subject_id", time=pl.lit(0).cast(pl.Datetime("us")), code=code, numeric_value="numeric_value", site="site"
    )
    meds.write_table(rows, dataset / "data" / "0.parquet")
    codes = (
        raw_labs.select("concept", unit="system")
        .unique("concept")
        .with_columns(code=code, scale=pl.col("concept").replace_strict(OWN_SCALE, default=1.0), offset=0.0)
    )
    meds.write_table(codes, dataset / "metadata" / "codes.parquet")
    infer_units(dataset)
    found = read_units(dataset)
    assert found is not None
    return found


def test_every_hospital_gets_its_own_unit_of_ionized_calcium(raw_labs: pl.DataFrame, eicu_units: pl.DataFrame) -> None:
    """All are declared mg/dL; four record mmol/L. No hospital's values lie between the two."""
    calcium = raw_labs.filter(pl.col("concept") == "ionized_calcium")
    truth = calcium.group_by("site").agg(
        unit=pl.when(pl.col("numeric_value").median() > 2.5).then(pl.lit("mg/dL")).otherwise(pl.lit("mmol/L"))
    )
    found = eicu_units.filter(pl.col("concept") == "ionized_calcium").select("site", found="unit")
    both = truth.join(found, on="site")
    assert len(both) == len(truth) >= 12
    assert both.filter(pl.col("unit") != pl.col("found")).is_empty()
    assert (both["found"] == "mmol/L").sum() >= 4


def test_magnesium_and_calcium_are_not_guessed_at(eicu_units: pl.DataFrame) -> None:
    """A fifth between mg/dL and mEq/L is less than patients differ: the declared unit stays, or nothing is said."""
    found = eicu_units.filter(pl.col("concept").is_in(["magnesium", "calcium"]))
    assert len(found) > 80
    assert set(found["decision"]) <= {"declared", "refused"}
    assert (found["decision"] == "refused").mean() < 0.05


def test_no_fraction_of_oxygen_is_taken_for_a_percentage(raw_labs: pl.DataFrame, eicu_units: pl.DataFrame) -> None:
    """Converted values lie between room air and pure oxygen; fractions are converted or left, never kept as percent."""
    table = eicu_units.filter(pl.col("concept") == "fio2")
    fractions = raw_labs.filter((pl.col("concept") == "fio2") & (pl.col("numeric_value") <= 1))["site"].unique()
    decided = table.filter(pl.col("site").is_in(fractions.implode()))
    assert {"inferred"} <= set(decided["decision"]) <= {"inferred", "mixed", "refused"}
    assert set(decided["unit"].drop_nulls()) == {"fraction"}
    others = table.filter(~pl.col("site").is_in(fractions.implode()) & pl.col("scale").is_not_null())
    assert set(others["unit"]) == {"%"}


@pytest.mark.slow
def test_no_pair_of_mimic_is_converted_otherwise_than_its_codes_say(sojourn_data: Path, tmp_path: Path) -> None:
    from sojourn.pipeline import ingest

    ingest("mimic-iv", sojourn_data / "mimic-iv-demo", tmp_path / "mimic")
    units = read_units(tmp_path / "mimic")
    assert units is not None
    assert len(units) > 100
    changed = units.filter(~pl.col("decision").is_in(["declared", "refused"]))
    assert changed.is_empty()
    assert (units["decision"] == "refused").sum() <= 0.02 * len(units)
