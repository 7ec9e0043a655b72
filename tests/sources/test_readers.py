"""Other people's tools read what the engine writes."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from omegaconf import DictConfig

from sojourn.sources.ingest import ingest

TASK = """
predicates:
  admitted: {code: {regex: "^ICU_ADMISSION//"}}
  sepsis: {code: OUTCOME//sepsis}
trigger: admitted
windows:
  input: {start: trigger, end: start + 20h, start_inclusive: true, end_inclusive: true, index_timestamp: end,
          has: {_ANY_EVENT: "(3, None)"}}
  target: {start: input.end, end: start + 24h, start_inclusive: false, end_inclusive: true, label: sepsis}
"""

PIPELINE = """
input_dir: {raw}
output_dir: {out}
description: count the codes
stages:
  - aggregate_code_metadata:
      train_only: false
      aggregations: [code/n_occurrences, code/n_subjects, values/sum]
"""


@pytest.mark.filterwarnings("ignore")  # es-aces warns about versions of its own dependencies
def test_es_aces_finds_the_stays_with_sepsis(psv_folder: Path, tmp_path: Path) -> None:
    from aces.config import TaskExtractorConfig
    from aces.predicates import get_predicates_df
    from aces.query import query

    ingest("challenge-2019", psv_folder, tmp_path / "out")
    (tmp_path / "task.yaml").write_text(TASK)
    task = TaskExtractorConfig.load(config_path=tmp_path / "task.yaml")
    data = DictConfig({"path": str(tmp_path / "out" / "data" / "0.parquet"), "standard": "meds", "ts_format": None})
    found = query(task, get_predicates_df(task, data))
    events = pl.read_parquet(tmp_path / "out" / "data" / "0.parquet")
    septic = set(events.filter(pl.col("code") == "OUTCOME//sepsis")["subject_id"])
    labels = dict(found.select("subject_id", pl.col("label") > 0).iter_rows())
    assert len(septic) > 3
    assert {subject for subject, label in labels.items() if label} == septic
    assert len(labels) > len(septic)


def test_meds_transforms_counts_the_codes(psv_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("MEDS_transforms", reason="MEDS_transforms is not installed: pip install MEDS-transforms")
    ingest("challenge-2019", psv_folder, tmp_path / "out")
    config = tmp_path / "pipeline.yaml"
    config.write_text(PIPELINE.format(raw=tmp_path / "out", out=tmp_path / "counted"))
    stage = Path(sys.executable).with_name("MEDS_transform-stage")
    subprocess.run([str(stage), str(config), "aggregate_code_metadata"], check=True, capture_output=True)
    (counted,) = (tmp_path / "counted").rglob("codes.parquet")
    ours = pl.read_parquet(tmp_path / "out" / "data" / "0.parquet").group_by("code").len().sort("code")
    theirs = pl.read_parquet(counted).filter(pl.col("code").is_not_null()).sort("code")
    assert theirs.select("code", pl.col("code/n_occurrences").cast(pl.UInt32)).rows() == ours.rows()
