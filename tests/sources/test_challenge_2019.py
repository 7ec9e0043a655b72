"""Challenge 2019: every hour accounted for, labels as the challenge means them."""

import tarfile
import time
import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from helpers.psv_lines import HEADER_2019, line_2019
from sojourn.errors import MissingTableError, SchemaError
from sojourn.sources.ingest import ingest

ReadEvents = Callable[[Path], pl.DataFrame]
START = datetime(2000, 1, 1)
SORTED = ["subject_id", "time", "code", "numeric_value"]


def hour(number: float) -> datetime:
    return START + timedelta(hours=number)


def write(folder: Path, name: str, *lines: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join((HEADER_2019, *lines)) + "\n")


def test_one_stay_by_hand(tmp_path: Path, read_events: ReadEvents) -> None:
    fixed = {"Age": 50, "Gender": 0, "Unit1": 0, "Unit2": 1, "HospAdmTime": -2.5}
    write(
        tmp_path / "raw",
        "training/training_setB/p100007.psv",
        line_2019(**fixed, HR=">300", Lactate=2.1, FiO2=0.4, ICULOS=3, SepsisLabel=0),
        line_2019(**fixed, ICULOS=4, SepsisLabel=0),
        line_2019(**fixed, ICULOS=5, SepsisLabel=1),
        line_2019(**fixed, FiO2=40, pH=735, ICULOS=6, SepsisLabel=1),
        line_2019(**fixed, HR=70) + "|1",
        line_2019(**fixed, HR=70, SepsisLabel=0),
    )
    report = ingest("challenge-2019", tmp_path / "raw", tmp_path / "out")
    (table,) = report.tables
    assert (table.table, table.rows, table.rows_to_events) == ("psv", 6, 3)
    assert table.reasons == {"nothing_measured": 1, "malformed_row": 1, "no_time": 1}
    assert report.sites == {"challenge-2019-B": 1}
    events = read_events(tmp_path / "out")
    assert events["subject_id"].unique().to_list() == [100_007]
    birth = START - timedelta(hours=round(50 * 365.25 * 24))
    found = events.select("time", "code", pl.col("numeric_value").round(3), "bound", "flag").rows()
    assert found == [
        (None, "GENDER//F", None, None, None),
        (None, "HOSPITAL_TO_ICU_HOURS", 2.5, None, None),
        (birth, "MEDS_BIRTH", None, None, None),
        (hour(3), "ICU_ADMISSION//SICU", 3.0, None, None),
        (hour(3), "LAB//Lactate", pytest.approx(2.1), None, None),
        (hour(3), "VITAL//FiO2", pytest.approx(0.4), None, None),
        (hour(3), "VITAL//HR", 300.0, ">", None),
        (hour(6), "LAB//pH", 735.0, None, "above_limit"),
        (hour(6), "VITAL//FiO2//%", 40.0, None, None),
        (hour(11), "OUTCOME//sepsis", None, None, None),
        (hour(12), "OUTCOME//follow_up_end", None, None, None),
        (hour(12), "OUTCOME//sepsis", None, None, None),
    ]
    assert events.filter(pl.col("bound") == ">")["text_value"].to_list() == [">300"]
    codes = pl.read_parquet(tmp_path / "out" / "metadata" / "codes.parquet")
    fio2 = codes.filter(pl.col("concept") == "fio2").select("code", "scale").rows()
    assert fio2 == [("VITAL//FiO2", 100.0), ("VITAL//FiO2//%", 1.0)]
    assert codes.filter("target_only")["code"].to_list() == ["OUTCOME//follow_up_end", "OUTCOME//sepsis"]


def test_an_outcome_within_six_hours_is_the_label_of_each_row(
    psv_folder: Path, tmp_path: Path, read_events: ReadEvents
) -> None:
    ingest("challenge-2019", psv_folder, tmp_path / "out")
    sepsis = read_events(tmp_path / "out").filter(pl.col("code") == "OUTCOME//sepsis")
    times = {key[0]: part["time"].to_list() for key, part in sepsis.group_by("subject_id")}
    num_labels = 0
    for path in psv_folder.rglob("*.psv"):
        rows = pl.read_csv(path, separator="|", columns=["ICULOS", "SepsisLabel"])
        for iculos, label in rows.iter_rows():
            now = hour(iculos)
            within = any(now < when <= now + timedelta(hours=6) for when in times.get(int(path.stem[1:]), []))
            assert within == bool(label)
            num_labels += label
    assert num_labels > 0


def archive(folder: Path, kind: str, target: Path) -> Path:
    """The same files as one archive."""
    paths = sorted(folder.rglob("*.psv"))
    if kind == "zip":
        with zipfile.ZipFile(target / "training.zip", "w") as made:
            for path in paths:
                made.write(path, path.relative_to(folder))
        return target / "training.zip"
    with tarfile.open(target / "training.tar.gz", "w:gz") as made:
        for path in paths:
            made.add(path, str(path.relative_to(folder)))
    return target / "training.tar.gz"


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "folder of an archive", "csv", "parquet", "two tables"])
def test_every_form_gives_the_same_events(psv_folder: Path, tmp_path: Path, read_events: ReadEvents, kind: str) -> None:
    ingest("challenge-2019", psv_folder, tmp_path / "loose")
    other = tmp_path / "other"
    other.mkdir()
    raw = other
    if kind in ("zip", "tar.gz"):
        raw = archive(psv_folder, kind, other)
    elif kind == "folder of an archive":
        archive(psv_folder, "tar.gz", other)
    else:
        parts = [
            pl.read_csv(path, separator="|", null_values="NaN", schema_overrides={"HR": pl.Float64, "Temp": pl.Float64})
            .cast({"EtCO2": pl.Float64})
            .with_columns(patient_id=pl.lit(path.stem), hospital=pl.lit(path.parent.name[-1]))
            for path in psv_folder.rglob("*.psv")
        ]
        table = pl.concat(parts, how="vertical_relaxed").sample(fraction=1, shuffle=True, seed=3)
        if kind == "csv":
            table.write_csv(other / "all.csv")
            raw = other / "all.csv"
        elif kind == "parquet":
            table.write_parquet(other / "all.parquet")
        else:
            for letter in "AB":
                one = table.filter(pl.col("hospital") == letter).drop("hospital")
                one.write_parquet(other / f"set{letter}.parquet")
    report = ingest("challenge-2019", raw, tmp_path / "out")
    assert report.sites == {"challenge-2019-A": 30, "challenge-2019-B": 10}
    assert sum(table.rows for table in report.tables) == sum(
        len(path.read_text().splitlines()) - 1 for path in psv_folder.rglob("*.psv")
    )
    columns = [name for name in read_events(tmp_path / "out").columns if name != "text_value"]
    left, right = (read_events(tmp_path / name).select(columns).sort(SORTED) for name in ("loose", "out"))
    assert_frame_equal(left, right)


def test_other_words_with_set_name_no_hospital(tmp_path: Path) -> None:
    for name in ("dataset_all/training_setB/p100001.psv", "dataset_all/p000001.psv"):
        write(tmp_path / "raw", name, line_2019(HR=70, ICULOS=1))
    report = ingest("challenge-2019", tmp_path / "raw", tmp_path / "out")
    assert report.sites == {"challenge-2019-A": 1, "challenge-2019-B": 1}


def test_numbers_that_no_stay_can_have_are_unknown(tmp_path: Path, read_events: ReadEvents) -> None:
    odd = {"Age": 1e30, "HR": 80}
    write(tmp_path / "raw", "training_setA/p000001.psv", line_2019(**odd, ICULOS=1), line_2019(**odd, ICULOS=1e30))
    (table,) = ingest("challenge-2019", tmp_path / "raw", tmp_path / "out").tables
    assert table.reasons == {"no_time": 1}
    events = read_events(tmp_path / "out")
    assert "MEDS_BIRTH" not in events["code"].to_list()
    assert events.filter(pl.col("code") == "OUTCOME//follow_up_end")["time"].to_list() == [hour(7)]


def test_a_site_can_be_given(psv_folder: Path, tmp_path: Path) -> None:
    assert ingest("challenge-2019", psv_folder, tmp_path / "out", site="mine").sites == {"mine": 40}


def test_missing_columns_are_said_and_the_rest_goes_on(tmp_path: Path, read_events: ReadEvents) -> None:
    (tmp_path / "raw").mkdir()
    pl.DataFrame({"patient_id": ["p1", "p1", "x"], "ICULOS": [1, 2, 1], "HR": [60, None, 70]}).write_parquet(
        tmp_path / "raw" / "few.parquet"
    )
    report = ingest("challenge-2019", tmp_path / "raw", tmp_path / "out")
    assert any("column Lactate of few is missing" in warning for warning in report.warnings)
    assert report.tables[0].reasons == {"no_subject": 1}
    assert read_events(tmp_path / "out")["code"].to_list() == [
        "ICU_ADMISSION//UNKNOWN",
        "VITAL//HR",
        "OUTCOME//follow_up_end",
    ]


def test_what_is_no_challenge_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(MissingTableError, match="raw must hold files named"):
        ingest("challenge-2019", tmp_path / "raw", tmp_path / "out")
    (tmp_path / "raw" / "p000001.psv").write_text("HR|Temp\n60|37\n")
    with pytest.raises(SchemaError, match=r"p000001\.psv must begin with a header with ICULOS"):
        ingest("challenge-2019", tmp_path / "raw", tmp_path / "out")
    (tmp_path / "raw" / "p000001.psv").unlink()
    (tmp_path / "raw" / "training.zip").write_bytes(b"PK no archive")
    with pytest.raises(SchemaError, match="must be a whole archive"):
        ingest("challenge-2019", tmp_path / "raw", tmp_path / "out")


@pytest.mark.real
def test_set_a_is_accounted_for(sojourn_data: Path, tmp_path: Path, read_events: ReadEvents) -> None:
    raw = sojourn_data / "challenge-2019"
    begin = time.monotonic()
    report = ingest("challenge-2019", raw / "setA.parquet", tmp_path / "out")
    assert time.monotonic() - begin < 60
    (table,) = report.tables
    assert table.rows == 790_215 == table.rows_to_events + table.rows_quarantined
    assert set(table.reasons) == {"nothing_measured"}
    assert report.sites == {"challenge-2019-A": 20_336}
    events = read_events(tmp_path / "out")
    septic = events.filter(pl.col("code") == "OUTCOME//sepsis")["subject_id"].n_unique()
    assert septic == 1_790
    measured = pl.scan_parquet(raw / "setA.parquet").select(pl.col("HR").count()).collect().item()
    assert events.filter(pl.col("code") == "VITAL//HR").height == measured

    (archive,) = raw.glob("*.tar.gz")
    few = ingest("challenge-2019", archive, tmp_path / "few")
    assert few.num_subjects == 200
    some = read_events(tmp_path / "few")
    same = events.filter(pl.col("subject_id").is_in(some["subject_id"].unique().to_list()))
    assert_frame_equal(some.sort(SORTED), same.sort(SORTED))
