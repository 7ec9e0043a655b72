"""Canaries are records of their site in all but the order of their codes, which is their own."""

from pathlib import Path

import polars as pl
import pytest

from helpers.toy_process import write_toy_meds
from sojourn.errors import ConfigError
from sojourn.events.meds import subjects_of, validate, write_table
from sojourn.events.units import UNITS
from sojourn.federated.attacks.canaries import NUM_EVENTS, plant


def test_canaries_have_the_codes_and_values_of_their_site_in_an_order_of_their_own(
    simulated_meds: Path, tmp_path: Path
) -> None:
    ids = plant([simulated_meds], tmp_path / "canaries", site="hospital-1", num=20, seed=7)
    validate(tmp_path / "canaries")
    rows = pl.read_parquet(simulated_meds / "data" / "*.parquet")
    made = pl.read_parquet(tmp_path / "canaries" / "data" / "0.parquet")
    assert ids == sorted(made["subject_id"].unique())
    assert min(ids) > rows["subject_id"].max()
    own = rows.filter(pl.col("site") == "hospital-1")
    known = own.select("code", "numeric_value").unique()
    assert made.join(known, on=["code", "numeric_value"], how="anti", nulls_equal=True).is_empty()
    units = [pl.read_parquet(place / UNITS) for place in (simulated_meds, tmp_path / "canaries")]
    told = pl.col("site") == "hospital-1", pl.col("code").is_in(made["code"].implode())
    assert units[1].equals(units[0].filter(*told))  # or their values would be read in other units than the site's
    subjects = subjects_of(tmp_path / "canaries")
    assert subjects["site"].unique().to_list() == ["hospital-1"]
    assert subjects["split"].unique().to_list() == ["train"]
    bodies = [part.tail(NUM_EVENTS) for part in made.partition_by("subject_id", maintain_order=True)]
    assert all(body["code"].n_unique() == body["time"].n_unique() == NUM_EVENTS for body in bodies)
    assert len({tuple(body["code"]) for body in bodies}) == 20


def test_a_record_of_facts_alone_is_no_donor(simulated_meds: Path, tmp_path: Path) -> None:
    facts = pl.DataFrame({"subject_id": range(1, 2001), "code": "GENDER//F", "site": "hospital-1"})
    empty = {"time": pl.lit(None, pl.Datetime("us")), "numeric_value": pl.lit(None, pl.Float32)}
    (tmp_path / "facts" / "data").mkdir(parents=True)
    write_table(facts.with_columns(**empty), tmp_path / "facts" / "data" / "0.parquet")
    assert len(plant([simulated_meds, tmp_path / "facts"], tmp_path / "out", site="hospital-1", num=10)) == 10


def test_the_seed_alone_says_what_the_canaries_are(simulated_meds: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        plant([simulated_meds], tmp_path / name, site="hospital-2", num=12, seed=seed)
    one, same, other = (pl.read_parquet(tmp_path / n / "data" / "0.parquet") for n in ("one", "same", "other"))
    assert one.equals(same)
    assert not one.equals(other)


def test_sites_that_are_not_there_or_record_too_little_are_told(simulated_meds: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'nowhere' is not"):
        plant([simulated_meds], tmp_path / "out", site="nowhere")
    toy = write_toy_meds(tmp_path / "toy", num_subjects=30)
    with pytest.raises(ConfigError, match="codes with 20 values at north"):
        plant([toy], tmp_path / "out", site="north")
