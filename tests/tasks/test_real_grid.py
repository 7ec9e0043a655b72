"""The grid of the eICU demo against the one that YAIB made of the same stays."""

from pathlib import Path

import polars as pl
import pytest

import sojourn as sj

pytestmark = pytest.mark.real

KEYS = ["stay_id", "time"]


@pytest.fixture(scope="module")
def cells(sojourn_data: Path, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """YAIB's cells, with ours beside them, and whether the stay has laboratory rows here."""
    folder = tmp_path_factory.mktemp("grid")
    sj.ingest("eicu", sojourn_data / "eicu-demo", folder / "meds")
    sj.hourly_grid(folder / "meds", folder / "grid", layout="yaib")
    theirs = pl.read_parquet(sojourn_data / "yaib-demo" / "los" / "eicu_demo" / "dyn.parquet")
    ours = pl.read_parquet(folder / "grid" / "dyn.parquet").with_columns(is_ours=pl.lit(value=True))
    lab = pl.read_parquet(sojourn_data / "eicu-demo" / "lab_SUBSET_pyhealth.parquet")["patientunitstayid"].unique()
    joined = theirs.with_columns(pl.col("stay_id").cast(pl.Int64)).join(ours, on=KEYS, how="left", suffix="_ours")
    return joined.with_columns(has_lab=pl.col("stay_id").is_in(lab.implode()))


def agreement(cells: pl.DataFrame, name: str) -> tuple[int, int]:
    """Cells with a value in either grid, and those of them that hold the same."""
    theirs, ours = pl.col(name), pl.col(f"{name}_ours")
    same = ((theirs - ours).abs() <= 1e-4 * theirs.abs()).fill_null(value=False)
    either = cells.filter(theirs.is_not_null() | ours.is_not_null())
    return either.height, either.filter(same).height


def test_every_hour_of_every_stay_of_theirs_is_in_ours(cells: pl.DataFrame) -> None:
    assert cells.height > 80_000
    assert cells["is_ours"].sum() == cells.height


@pytest.mark.parametrize("name", ["crea", "na", "k", "glu", "wbc", "plt", "hgb", "bicar", "cl", "po2", "ph", "mcv"])
def test_laboratory_values_agree_in_every_cell(cells: pl.DataFrame, name: str) -> None:
    either, same = agreement(cells.filter("has_lab"), name)
    assert same == either > 100


def test_urine_agrees_but_for_names_that_theirs_does_not_know(cells: pl.DataFrame) -> None:
    either, same = agreement(cells, "urine")
    assert either > 16_000
    assert same / either > 0.99


def test_ionised_calcium_in_mg_is_converted_and_not_dropped(cells: pl.DataFrame) -> None:
    mine = cells.filter(pl.col("has_lab") & pl.col("cai_ours").is_not_null())
    assert mine.height > 2 * mine["cai"].count() > 0
    assert mine["cai_ours"].is_between(0.5, 2).all()
