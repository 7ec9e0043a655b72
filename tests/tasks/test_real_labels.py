"""Labels of the open data sets against what their makers say."""

from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from sojourn.sources.ingest import ingest
from sojourn.tasks.files import read_labels
from sojourn.tasks.label import label

pytestmark = pytest.mark.real

MORTALITY = """
predicates:
  icu_in: {code: {regex: "^ICU_ADMISSION(//|$)"}}
  icu_out: {code: {regex: "^ICU_DISCHARGE//"}}
  icu_died: {code: {regex: "^ICU_DISCHARGE//DIED"}}
trigger: icu_in
windows:
  input: {start: trigger, end: start + 24h, start_inclusive: true, end_inclusive: true, index_timestamp: end}
  gap: {start: trigger, end: start + 30h, start_inclusive: false, end_inclusive: false, has: {icu_out: "(None, 0)"}}
  target: {start: gap.end, end: start -> icu_out, start_inclusive: true, end_inclusive: true, label: icu_died}
"""


@pytest.fixture(scope="module")
def challenge_2019(sojourn_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("challenge") / "meds"
    ingest("challenge-2019", sojourn_data / "challenge-2019", folder)
    return folder


@pytest.fixture(scope="module")
def mimic_demo(sojourn_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mimic") / "meds"
    ingest("mimic-iv", sojourn_data / "mimic-iv-demo", folder)
    return folder


def test_sepsis_within_6_h_is_the_challenges_own_label_in_every_row(
    challenge_2019: Path, sojourn_data: Path, tmp_path: Path
) -> None:
    report = label("sepsis-6h", challenge_2019, tmp_path / "labels.parquet")
    assert (report.num_labels, report.num_subjects) == (790_215, 20_336)
    raw = pl.read_parquet(
        sojourn_data / "challenge-2019" / "setA.parquet", columns=["patient_id", "ICULOS", "SepsisLabel"]
    ).select(
        subject_id=pl.col("patient_id").str.extract(r"(\d+)$").cast(pl.Int64),
        prediction_time=pl.lit(datetime(2000, 1, 1), dtype=pl.Datetime("us")) + pl.duration(hours="ICULOS"),
        boolean_value=pl.col("SepsisLabel") == 1,
    )
    keys = ["subject_id", "prediction_time"]
    assert raw.sort(keys).equals(read_labels(tmp_path / "labels.parquet").table.sort(keys))


def test_aces_and_the_built_in_task_find_the_same_icu_deaths(mimic_demo: Path, tmp_path: Path) -> None:
    config = tmp_path / "icu-mortality.yaml"
    config.write_text(MORTALITY)
    label(str(config), mimic_demo, tmp_path / "aces.parquet")
    report = label("icu-death", mimic_demo, tmp_path / "ours.parquet")
    assert (report.num_labels, report.num_positive) == (96, 10)
    ours, theirs = read_labels(tmp_path / "ours.parquet").table, read_labels(tmp_path / "aces.parquet").table
    assert ours.equals(theirs)


def test_deaths_of_the_mimic_demo_are_its_own(mimic_demo: Path, tmp_path: Path) -> None:
    report = label("death-24h", mimic_demo, tmp_path / "labels.parquet")
    assert report.attrition[0].num_subjects == 97
    assert (report.num_labels, report.num_positive) == (776, 13)
