"""Challenge 2012: descriptors, measurements and how the stays ended."""

import tarfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from sojourn.sources.ingest import ingest

ReadEvents = Callable[[Path], pl.DataFrame]
START = datetime(2000, 1, 1)
HEADER = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"


def minutes(number: int) -> datetime:
    return START + timedelta(minutes=number)


def days(number: int) -> datetime:
    return START + timedelta(days=number)


def write_record(folder: Path, record: int, *lines: str, icu: int = 3) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    first = (f"RecordID,{record}", "Age,60", "Gender,0", "Height,-1", f"ICUType,{icu}", "Weight,80.5")
    text = "\n".join(["Time,Parameter,Value", *(f"00:00,{line}" for line in first), *lines]) + "\n"
    (folder / f"{record}.txt").write_text(text)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Five stays of two sets with their outcomes."""
    folder = tmp_path / "raw"
    write_record(folder / "set-a", 132539, "00:07,HR,73", "47:30,pH,735", "48:00,Weight,81", "00:07,GCS,15")
    write_record(folder / "set-a", 132540, "01:00,MechVent,1", "00:30,MechVent,1", "02:00,Mystery,5", "3 am,HR,60")
    write_record(folder / "set-a", 132541, "01:00,HR,NaN", "01:00,HR", "01:00,,60", icu=-1)
    write_record(folder / "set-b", 142675, "05:00,Urine,70")
    write_record(folder / "set-b", 142676)
    outcomes = ["132539,6,1,5,-1,0", "132540,16,8,8,7,1", "132541,-1,-1,-1,-1,1", "999999,1,1,1,1,0", "odd"]
    (folder / "Outcomes-a.txt").write_text("\n".join([HEADER, *outcomes]) + "\n")
    (folder / "Outcomes-b.txt").write_text(f"{HEADER}\n142675,6,1,1,2,1\n142676,6,1,9,300,0\n")
    (folder / "SHA256SUMS.txt").write_text("not a record")
    return folder


def test_stays_by_hand(raw: Path, tmp_path: Path, read_events: ReadEvents) -> None:
    report = ingest("challenge-2012", raw, tmp_path / "out")
    records, outcomes_a, outcomes_b = report.tables
    assert records.table == "txt"
    assert records.rows == 5 * 6 + 4 + 4 + 3 + 1
    assert records.reasons == {
        "identifier": 5,
        "unknown_descriptor": 6,
        "no_time": 1,
        "no_value": 1,
        "malformed_row": 1,
        "no_code": 1,
    }
    assert (outcomes_a.rows, outcomes_a.rows_to_events) == (5, 3)
    assert outcomes_a.reasons == {"no_record": 1, "malformed_row": 1}
    assert (outcomes_b.rows, outcomes_b.rows_to_events) == (2, 2)
    assert report.sites == {"challenge-2012-a": 3, "challenge-2012-b": 2}
    events = read_events(tmp_path / "out")

    def of(subject: int) -> list[tuple[object, ...]]:
        rows = events.filter(pl.col("subject_id") == subject).sort("time", "code", nulls_last=False)
        return rows.select("time", "code", "numeric_value", "flag").rows()

    birth = START - timedelta(minutes=round(60 * 365.25 * 24 * 60))
    admission = [
        (None, "GENDER//F", None, None),
        (birth, "MEDS_BIRTH", None, None),
        (START, "ICU_ADMISSION//MICU", None, None),
        (START, "VITAL//Weight", 80.5, None),
    ]
    assert of(132539) == [
        *admission,
        (minutes(7), "VITAL//GCS", 15.0, None),
        (minutes(7), "VITAL//HR", 73.0, None),
        (days(1), "OUTCOME//saps_i", 6.0, None),
        (days(1), "OUTCOME//sofa", 1.0, None),
        (minutes(47 * 60 + 30), "LAB//pH", 735.0, "above_limit"),
        (days(2), "VITAL//Weight", 81.0, None),
        (days(5), "HOSPITAL_DISCHARGE//ALIVE", None, None),
    ]
    assert of(132540) == [
        *admission,
        (minutes(30), "VENTILATION//MechVent", 1.0, None),
        (minutes(30), "VENTILATION//start", None, None),
        (minutes(60), "VENTILATION//MechVent", 1.0, None),
        (minutes(120), "OTHER//Mystery", 5.0, None),
        (days(1), "OUTCOME//saps_i", 16.0, None),
        (days(1), "OUTCOME//sofa", 8.0, None),
        (days(7), "HOSPITAL_DISCHARGE//DIED", None, None),
        (days(7), "MEDS_DEATH", None, None),
    ]
    after_window = minutes(48 * 60 + 1)
    assert of(132541) == [
        *admission[:2],
        admission[3],
        (after_window, "HOSPITAL_DISCHARGE//DIED", None, None),
        (after_window, "MEDS_DEATH", None, None),
    ]
    assert of(142675)[-2:] == [
        (after_window, "HOSPITAL_DISCHARGE//DIED", None, None),
        (after_window, "MEDS_DEATH", None, None),
    ]
    assert of(142676)[-2:] == [
        (days(9), "HOSPITAL_DISCHARGE//ALIVE", None, None),
        (days(300), "OUTCOME//death_after_discharge", None, None),
    ]


def test_no_outcome_is_within_the_records(raw: Path, tmp_path: Path, read_events: ReadEvents) -> None:
    ingest("challenge-2012", raw, tmp_path / "out")
    ends = read_events(tmp_path / "out").filter(pl.col("code").str.contains("DISCHARGE|DEATH"))
    assert ends["time"].min() > days(2)
    codes = pl.read_parquet(tmp_path / "out" / "metadata" / "codes.parquet")
    hidden = codes.filter("target_only")["code"].to_list()
    assert hidden == ["OUTCOME//death_after_discharge", "OUTCOME//saps_i", "OUTCOME//sofa"]


@pytest.mark.parametrize("clock", ["minutes", "Time"])
def test_tables_and_archives_give_the_same_events(
    raw: Path, tmp_path: Path, read_events: ReadEvents, clock: str
) -> None:
    ingest("challenge-2012", raw, tmp_path / "loose")
    other = tmp_path / "other"
    other.mkdir()
    for letter in "ab":
        (other / f"Outcomes-{letter}.txt").write_bytes((raw / f"Outcomes-{letter}.txt").read_bytes())
        if clock == "Time":
            with tarfile.open(other / f"set-{letter}.tar.gz", "w:gz") as made:
                made.add(raw / f"set-{letter}", f"set-{letter}")
            continue
        lines = [
            (int(path.stem), *line.split(","))
            for path in sorted((raw / f"set-{letter}").iterdir())
            for line in path.read_text().splitlines()[1:]
            if line.count(",") == 2
        ]
        table = pl.DataFrame(lines, schema=["RecordID", "Time", "Parameter", "Value"], orient="row")
        hhmm = pl.col("Time").str.extract_groups(r"^(\d+):(\d+)$").cast(pl.Struct({"1": pl.Int32, "2": pl.Int32}))
        table = table.with_columns(
            minutes=hhmm.struct["1"] * 60 + hhmm.struct["2"], Value=pl.col("Value").cast(pl.Float64)
        ).drop("Time")
        table.sample(fraction=1, shuffle=True, seed=1).write_parquet(other / f"set-{letter}.parquet")
    report = ingest("challenge-2012", other, tmp_path / "out")
    assert report.sites == {"challenge-2012-a": 3, "challenge-2012-b": 2}
    left, right = (read_events(tmp_path / name).drop("text_value") for name in ("loose", "out"))
    assert left.rows() == right.rows()


def test_numbers_that_no_record_can_have_are_set_aside(tmp_path: Path, read_events: ReadEvents) -> None:
    (tmp_path / "raw").mkdir()
    rows = ["1,0,Age,1e300", "1,0,Gender,0", f"1,{9 * 10**18},HR,70", "1,5,HR,70"]
    (tmp_path / "raw" / "long.csv").write_text("\n".join(["RecordID,minutes,Parameter,Value", *rows]) + "\n")
    (tmp_path / "raw" / "Outcomes-a.txt").write_text(f"{HEADER}\n1,6,1,1e30,-1,0\n")
    report = ingest("challenge-2012", tmp_path / "raw", tmp_path / "out")
    assert report.tables[0].reasons == {"unknown_descriptor": 1, "no_time": 1}
    events = read_events(tmp_path / "out")
    assert "MEDS_BIRTH" not in events["code"].to_list()
    assert events.filter(pl.col("code") == "HOSPITAL_DISCHARGE//ALIVE")["time"].to_list() == [minutes(48 * 60 + 1)]


def test_missing_outcomes_are_said(raw: Path, tmp_path: Path) -> None:
    (raw / "Outcomes-b.txt").unlink()
    report = ingest("challenge-2012", raw, tmp_path / "out")
    assert report.warnings == ("Outcomes of set b are missing: deaths and discharges will be missing",)


def test_one_set_takes_only_its_outcomes(raw: Path, tmp_path: Path) -> None:
    with tarfile.open(raw / "set-b.tar.gz", "w:gz") as made:
        made.add(raw / "set-b", "set-b")
    report = ingest("challenge-2012", raw / "set-b.tar.gz", tmp_path / "out")
    assert [table.table for table in report.tables] == ["txt", "Outcomes-b"]
    assert report.sites == {"challenge-2012-b": 2}


def test_an_unpacked_set_has_its_letter_and_the_outcomes_beside_it(raw: Path, tmp_path: Path) -> None:
    report = ingest("challenge-2012", raw / "set-b", tmp_path / "out")
    assert [table.table for table in report.tables] == ["txt", "Outcomes-b"]
    assert (report.sites, report.warnings) == ({"challenge-2012-b": 2}, ())


def test_the_set_is_known_from_inside_its_folder(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(raw / "set-a")
    report = ingest("challenge-2012", Path(), tmp_path / "out")
    assert (report.sites, report.warnings) == ({"challenge-2012-a": 3}, ())


@pytest.mark.real
def test_both_sets_are_accounted_for(sojourn_data: Path, tmp_path: Path, read_events: ReadEvents) -> None:
    report = ingest("challenge-2012", sojourn_data / "challenge-2012", tmp_path / "out")
    assert [(table.table, table.rows) for table in report.tables] == [
        ("set-a", 1_757_980),
        ("set-b", 1_762_535),
        ("Outcomes-a", 4_000),
        ("Outcomes-b", 4_000),
    ]
    for table in report.tables:
        assert table.rows == table.rows_to_events + table.rows_quarantined
    assert report.sites == {"challenge-2012-a": 4_000, "challenge-2012-b": 4_000}
    events = read_events(tmp_path / "out")
    died = events.filter(pl.col("code") == "HOSPITAL_DISCHARGE//DIED").group_by("site").len().sort("site")
    assert died.rows() == [("challenge-2012-a", 554), ("challenge-2012-b", 568)]
    assert events.filter(pl.col("flag") == "above_limit", pl.col("code") == "LAB//pH").height > 0
