"""Synthetic patients: a valid data set that begins with nothing, and looks like what the run was trained on."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import sojourn as sj
from helpers.toy_process import DEATH, LEAVE
from sojourn.errors import ConfigError, SojournError
from sojourn.events.meds import validate
from sojourn.inference.synthesis import Drawing, static_facts
from sojourn.training.run import Run

HOW = Drawing(num_subjects=300, horizon_hours=72.0, seed=3)


@pytest.fixture(scope="module")
def synthetic(toy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthesis") / "meds"
    sj.synthesise(toy_run, out, HOW)
    return out


def rows(dataset: Path) -> pl.DataFrame:
    return pl.read_parquet(dataset / "data" / "0.parquet")


def test_it_is_a_meds_data_set_that_builds_without_loss(synthetic: Path, tmp_path: Path) -> None:
    validate(synthetic)
    report = sj.build(tmp_path / "store", [synthetic])
    assert report.num_subjects == HOW.num_subjects
    assert not report.quarantined


def test_records_begin_as_real_ones_do_and_show_the_process(synthetic: Path) -> None:
    table = rows(synthetic).filter(pl.col("time").is_not_null() & (pl.col("code") != "MEDS_BIRTH"))
    first = table.filter(pl.col("time") == pl.col("time").min().over("subject_id"))
    has_admission = first.group_by("subject_id").agg(pl.col("code").eq("ICU_ADMISSION//MICU").any())["code"]
    assert has_admission.mean() > 0.9
    rates = table.filter(pl.col("code") == "CONCEPT//heart_rate").group_by("subject_id")
    heart = rates.agg((pl.col("numeric_value") > 97.5).mean())["numeric_value"]
    # Two kinds of patients, seldom one that changes sides: the heart rate tells the sick from the others for good.
    assert ((heart < 0.15) | (heart > 0.85)).mean() > 0.7
    hours = table.group_by("subject_id").agg((pl.col("time").max() - pl.col("time").min()).dt.total_hours())["time"]
    expected = 1 / (np.average(DEATH, weights=[0.6, 0.4]) + LEAVE)
    assert 0.6 < hours.mean() / expected < 1.5


def test_a_record_that_is_cut_at_the_horizon_says_until_when_it_was_watched(toy_run: Path, tmp_path: Path) -> None:
    how = HOW._replace(num_subjects=100, horizon_hours=10.0)
    report = sj.synthesise(toy_run, tmp_path / "meds", how)
    table = rows(tmp_path / "meds").filter(pl.col("code") != "MEDS_BIRTH").drop_nulls("time")
    start = table.group_by("subject_id").agg(start=pl.col("time").min())
    cut = table.filter(pl.col("code") == "OUTCOME//follow_up_end").join(start, on="subject_id")
    assert 20 < len(cut) < 80
    assert report.share_ended == pytest.approx(1 - len(cut) / 100)
    assert ((cut["time"] - cut["start"]).dt.total_hours() == how.horizon_hours).all()
    terminal = Run(toy_run).vocabulary.table.filter("terminal")["code"]
    ended = table.filter(pl.col("code").is_in(terminal.implode()))["subject_id"].unique()
    assert len(set(ended) & set(cut["subject_id"])) <= 1  # a discharge all but always ends a record


def test_a_seed_gives_the_same_patients_and_another_one_others(toy_run: Path, synthetic: Path, tmp_path: Path) -> None:
    sj.synthesise(toy_run, tmp_path / "again", HOW)
    sj.synthesise(toy_run, tmp_path / "other", HOW._replace(seed=4))
    assert rows(tmp_path / "again").equals(rows(synthetic))
    assert not rows(tmp_path / "other").equals(rows(synthetic))


def test_a_site_must_be_one_that_the_run_knows(toy_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="north"):
        sj.synthesise(toy_run, tmp_path / "out", HOW._replace(site="nowhere"))
    sj.synthesise(toy_run, tmp_path / "out", HOW._replace(site="north", num_subjects=5))


def test_facts_have_their_training_shares_and_exclude_each_other(toy_run: Path) -> None:
    run = Run(toy_run)
    known = int(run.settings["data"]["num_training_subjects"])
    facts = static_facts(run.vocabulary, 4000, known, np.random.default_rng(0))
    assert len(np.unique(facts.subject)) == len(facts.subject), "one sex each"
    code, count = np.unique(facts.code, return_counts=True)
    share = run.vocabulary.table[code]["count"].to_numpy() / known
    np.testing.assert_allclose(count / 4000, share, atol=4 * np.sqrt(0.25 / 4000))


def test_a_folder_that_is_there_is_told_before_anything_is_drawn(
    toy_run: Path, synthetic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sojourn.inference.synthesis.records", lambda *_: pytest.fail("it drew"))
    with pytest.raises(SojournError):
        sj.synthesise(toy_run, synthetic, HOW)
