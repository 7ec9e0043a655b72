"""The simulator as a source, through the engine."""

import json
from pathlib import Path

import polars as pl
import pytest

from sojourn.errors import ConfigError
from sojourn.sources.ingest import ingest
from sojourn.sources.records import CODES_SCHEMA, EVENT_SCHEMA, SourceBatch
from sojourn.sources.simulator import SOURCE, SimulatorConfig, write_config


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory, small_config: SimulatorConfig) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    write_config(small_config, folder)
    return folder


@pytest.fixture(scope="module")
def batches(raw: Path) -> list[SourceBatch]:
    return list(SOURCE.read(raw, site=None, warn=pytest.fail))


@pytest.fixture(scope="module")
def data_set(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "meds"
    ingest("simulator", raw, out)
    return out


def test_every_row_is_accounted_for(batches: list[SourceBatch]) -> None:
    seen: list[int] = []
    for batch in batches:
        assert dict(batch.events.schema) == EVENT_SCHEMA
        assert batch.num_rows == batch.events.height + batch.quarantined.height
        seen += [*batch.events["row"], *batch.quarantined["row"]]
    assert sorted(seen) == list(range(len(seen)))
    set_aside = pl.concat([batch.quarantined for batch in batches])
    assert set_aside.height > 0
    assert set_aside["reason"].unique().to_list() == ["no_time"]
    assert "subject_id" in json.loads(set_aside["record"][0])


def test_the_same_configuration_gives_the_same_events(raw: Path, batches: list[SourceBatch]) -> None:
    again = list(SOURCE.read(raw, site=None, warn=pytest.fail))
    assert all(one.events.equals(two.events) for one, two in zip(batches, again, strict=True))


def test_subjects_are_unique_over_the_sites(batches: list[SourceBatch]) -> None:
    events = pl.concat([batch.events for batch in batches])
    assert events.group_by("subject_id").agg(pl.col("site").n_unique())["site"].max() == 1
    assert dict(events.group_by("site").agg(pl.col("subject_id").n_unique()).iter_rows()) == {
        f"hospital-{number}": 96 for number in (1, 2, 3)
    }


def test_all_codes_are_described_and_local(raw: Path, batches: list[SourceBatch]) -> None:
    codes = SOURCE.codes(raw)
    assert dict(codes.schema) == CODES_SCHEMA
    assert codes["code"].is_unique().all()
    used = pl.concat([batch.events.select("code", "site") for batch in batches]).unique()
    assert used.join(codes, on="code", how="anti").height == 0
    lab_sites = used.filter(pl.col("code").str.contains("^(LAB|VITAL|OUTPUT)")).group_by("code").len()
    assert lab_sites["len"].max() == 1
    # several local codes, one concept
    assert codes.filter(pl.col("concept") == "glucose").height == 2 * 3


def test_hospitals_measure_at_different_rates(batches: list[SourceBatch], raw: Path) -> None:
    events = pl.concat([batch.events.select("code", "site") for batch in batches])
    counts = (
        events.join(SOURCE.codes(raw).select("code", "concept"), on="code")
        .drop_nulls("concept")
        .group_by("site", "concept")
        .len()
        .pivot("site", index="concept", values="len")
    )
    rates = counts.filter(pl.col("concept") == "lactate").row(0)[1:]
    assert max(rates) > 1.5 * min(rates)


def test_one_hospital_can_be_chosen(raw: Path) -> None:
    chosen = pl.concat([batch.events for batch in SOURCE.read(raw, site="hospital-2", warn=pytest.fail)])
    assert chosen["site"].unique().to_list() == ["hospital-2"]
    with pytest.raises(ConfigError, match="hospital-1"):
        list(SOURCE.read(raw, site="nowhere", warn=pytest.fail))


def test_truth_stands_beside_the_data(data_set: Path) -> None:
    states = pl.read_parquet(data_set / "truth" / "states.parquet")
    risks = pl.read_parquet(data_set / "truth" / "risks.parquet")
    for table in (states, risks):
        assert table["site"].unique().to_list() == ["hospital-3"]
        assert table["subject_id"].n_unique() <= 24
    assert states["subject_id"].n_unique() == 24
    assert risks.group_by("subject_id", "prediction_time").len()["len"].unique().to_list() == [8]
    assert risks["true_risk"].is_between(0, 1.000001).all()
    assert risks.null_count().drop("horizon_hours").sum_horizontal()[0] == 0


def test_prediction_times_and_outcomes_match_the_events(data_set: Path) -> None:
    risks = pl.read_parquet(data_set / "truth" / "risks.parquet")
    events = pl.concat([pl.read_parquet(path) for path in sorted((data_set / "data").glob("*.parquet"))])
    admitted = events.filter(pl.col("code").str.starts_with("ICU_ADMISSION")).select("subject_id", start="time")
    hours = risks.join(admitted, on="subject_id").select(
        (pl.col("prediction_time") - pl.col("start")).dt.total_minutes() / 60
    )
    assert set(hours.to_series().unique()) <= {24.0 + 12 * k for k in range(13)}
    codes = pl.read_parquet(data_set / "metadata" / "codes.parquet").select("code", "concept", "scale", "offset")
    told = events.join(codes, on="code", how="left").select(
        "subject_id", "time", "code", "concept", value=pl.col("numeric_value") * pl.col("scale") + pl.col("offset")
    )
    concept = pl.col("concept")
    definitions = {
        "death_48h": (pl.col("code") == "MEDS_DEATH", 48),
        "vasopressor_start_24h": (concept == "norepinephrine//start", 24),
        "ventilation_start_24h": (concept == "ventilation//start", 24),
        "lactate_gt_4_24h": ((concept == "lactate") & (pl.col("value") > 4), 24),
    }
    for task, (is_outcome, horizon) in definitions.items():
        rows = risks.filter(pl.col("task") == task)
        outcome = told.filter(is_outcome).select("subject_id", "time")
        within = rows.join(outcome, on="subject_id").filter(
            (pl.col("time") > pl.col("prediction_time"))
            & (pl.col("time") <= pl.col("prediction_time") + pl.duration(hours=horizon))
        )
        hits = within.select("subject_id", "prediction_time").unique().height
        assert hits == rows["happened"].sum(), task


def test_truth_is_optional_and_follows_the_data(raw: Path, tmp_path: Path, small_config: SimulatorConfig) -> None:
    ingest("simulator", raw, tmp_path / "one", site="hospital-1")
    assert pl.read_parquet(tmp_path / "one" / "truth" / "states.parquet")["site"].unique().to_list() == ["hospital-1"]
    truth = small_config.truth.model_copy(update={"states": False, "risks": False})
    write_config(small_config.model_copy(update={"truth": truth}), tmp_path / "quiet.yaml")
    ingest("simulator", tmp_path / "quiet.yaml", tmp_path / "two")
    assert not (tmp_path / "two" / "truth").exists()
