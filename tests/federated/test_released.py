"""What finished weights betray is found at the sites, and a run is handed on without what tells them apart."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import load_file

import sojourn as sj
from federated.conftest import SMALL
from helpers.toy_process import build_toy_store, toy_record
from sojourn.errors import FederationError, RunError
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.federated.attacks.membership import toss
from sojourn.federated.coordinator import federate
from sojourn.federated.exposure import SiteExposure, exposure, exposure_of
from sojourn.federated.local import Job, LocalTrainer
from sojourn.federated.messages import Message, Refusal
from sojourn.federated.released import RELEASE, release
from sojourn.federated.site import Site
from sojourn.federated.transport import InProcess
from sojourn.files import read_json
from sojourn.tasks.files import write_labels
from sojourn.training.config import PretrainConfig
from sojourn.training.run import Run

Make = Callable[..., InProcess]
SAFE = SiteExposure("north", 40, 30, 0.52, 0.44, 0.60, "ok")
SILENT = SiteExposure("south", 0, 0, None, None, None, "too_few")


@pytest.fixture
def run(network_of: Make, tmp_path: Path) -> Path:
    federate(network_of(), tmp_path / "run", config=SMALL)
    return tmp_path / "run"


def ask(sites: InProcess, run: Path, site: str) -> SiteExposure:
    weights = {name: weight.detach().numpy() for name, weight in Run(run).network().named_parameters()}
    question = Message("exposure", SMALL["rounds"] - 1, weights)
    return exposure_of(site, dict(sites.ask({site: question}, timeout_s=600.0))[site])


def test_patients_who_were_learnt_by_heart_are_found(toy_store: EventStore) -> None:
    coins = toss(toy_store.rows(split="train", sites=["north"]), seed=0)
    left_out = frozenset(toy_store.subjects["subject_id"].gather(coins.others))
    vocabulary = ModelVocabulary.fit(toy_store, toy_store.rows(), min_count=5)
    pretrain = PretrainConfig.model_validate(SMALL["pretrain"] | {"learning_rate": 0.01, "warmup_steps": 2})
    hazards = torch.full((len(vocabulary), len(pretrain.network().hazard_edges_hours) + 1), -5.0)
    job = Job(vocabulary, ("OUTCOME//death",), ("north",), hazards, pretrain)
    trainer = LocalTrainer(job, toy_store, "north", total_steps=180, left_out=left_out)
    before = exposure(trainer, coins.others)
    assert before["lower"] <= 0.5 <= before["upper"]
    trainer.train(180, 0)
    found = exposure(trainer, coins.others)
    assert found["lower"] > 0.5
    assert (found["members"], found["others"]) == (len(coins.members), len(coins.others))
    assert exposure(trainer, coins.others[:9]) == {}
    assert exposure(trainer, coins.others, least=len(coins.others) + 1) == {}


def test_sites_tell_an_interval_and_nothing_else(tmp_path: Path) -> None:
    rows = [row for i in range(160) for row in toy_record(i + 1, ("north", "south")[i >= 130], 7)]
    store = EventStore.open(build_toy_store(tmp_path, num_subjects=0, rows=rows))
    sites = InProcess({name: Site(name, store) for name in ("north", "south")})
    federate(sites, tmp_path / "run", config=SMALL)
    held_out = len(store.rows(split="held_out", sites=["north"]))
    told = ask(sites, tmp_path / "run", "north")
    assert (told.told, told.others) == ("ok", held_out)
    assert 0 < (told.lower or 0) <= (told.auroc or 0) <= (told.upper or 0) < 1
    assert ask(sites, tmp_path / "run", "south").told == "too_few"
    assert exposure_of("a", Refusal("budget", "")).told == "budget"


@pytest.mark.parametrize(
    "change",
    [
        {"auroc": None},
        {"extra": 1.0},
        {"auroc": 7.0, "lower": -3.0, "upper": 9.0},
        {"lower": 0.6},
        {"upper": 1.2},
        {"members": -5.0},
        {"others": 1.0},
        {"members": 1e300},
    ],
)
def test_an_answer_that_cannot_be_is_no_consent(change: dict[str, float | None], tmp_path: Path) -> None:
    usual = {"members": 40.0, "others": 30.0, "auroc": 0.52, "lower": 0.44, "upper": 0.6}
    numbers = {name: number for name, number in (usual | change).items() if number is not None}
    assert exposure_of("north", Message("exposure", 2, {}, usual)) == SAFE
    found = exposure_of("south", Message("exposure", 2, {}, numbers))
    assert found == SiteExposure("south", 0, 0, None, None, None, "malformed")
    with pytest.raises(FederationError, match=r"south \(malformed\)"):
        release(tmp_path / "run", tmp_path / "out", [SAFE, found])


def test_a_refusal_is_no_consent_whatever_it_calls_itself() -> None:
    for word in ("ok", "too_few"):
        assert exposure_of("south", Refusal.told(word, "")).told == "malformed"
    assert exposure_of("south", Message("evaluate", 2)).told == "wrong_kind"
    assert exposure_of("south", Message("exposure", 2, {"w": np.ones(2)})).told == "wrong_names"


def test_a_released_run_tells_no_hospital_from_another(run: Path, toy_store: EventStore, tmp_path: Path) -> None:
    report = release(run, tmp_path / "out", [SAFE, SILENT])
    assert report.sites_removed == 3
    assert report.epsilon is None
    content = b"".join(path.read_bytes() for path in sorted((tmp_path / "out").rglob("*")) if path.is_file())
    assert not any(name.encode() in content for name in ("north", "south", "west"))
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {RELEASE, "run.yaml"}
    assert not (tmp_path / "out" / "metrics.jsonl").exists()
    assert read_json(tmp_path / "out" / RELEASE)["sites"][0] | {"site": "north"} == asdict(SAFE)
    before, after = (load_file(folder / "model.safetensors") for folder in (run, tmp_path / "out"))
    assert after["site.weight"].shape == (1, before["site.weight"].shape[1])
    assert all(np.array_equal(after[name], before[name]) for name in after if name != "site.weight")
    assert release(run, tmp_path / "out", [SAFE, SILENT]) == report  # the same call, again
    with pytest.raises(RunError, match="must not exist"):
        release(run, tmp_path / "out", [SAFE], limit=0.7)


def test_a_released_run_predicts_as_before(run: Path, toy_store: EventStore, tmp_path: Path) -> None:
    release(run, tmp_path / "out", [SAFE])
    rows = toy_store.subjects.filter(pl.col("split") == "held_out").select("subject_id")
    times = rows.with_columns(prediction_time=pl.lit("2150-03-08").str.to_datetime(time_unit="us"))
    task = {"name": "toy", "description": "", "outcomes": ["OUTCOME//death"], "horizon_hours": 12}
    write_labels(tmp_path / "labels.parquet", times.with_columns(boolean_value=pl.lit(value=False)), task)
    risks = []
    for name in ("run", "out"):
        sj.predict(tmp_path / name, toy_store.path, tmp_path / "labels.parquet", tmp_path / f"{name}.parquet")
        risks.append(pl.read_parquet(tmp_path / f"{name}.parquet")["predicted_boolean_probability"].to_list())
    assert risks[0] == risks[1]


def test_a_run_that_betrays_a_sites_patients_stays(run: Path, tmp_path: Path) -> None:
    found = SiteExposure("west", 80, 40, 0.74, 0.66, 0.81, "ok")
    with pytest.raises(FederationError, match=r"west \(0\.74, at least 0\.66\)"):
        release(run, tmp_path / "out", [SAFE, found])
    with pytest.raises(FederationError, match="none of 1 did"):
        release(run, tmp_path / "out", [SILENT])
    assert not (tmp_path / "out").exists()
    assert release(run, tmp_path / "out", [SAFE, found], limit=0.7).limit == 0.7


def test_a_run_stays_where_a_site_did_not_look(run: Path, tmp_path: Path) -> None:
    """Otherwise the one that would object only has to be away."""
    away = SiteExposure("west", 0, 0, None, None, None, "unreachable")
    with pytest.raises(FederationError, match=r"1 of 2 did not: west \(unreachable\)"):
        release(run, tmp_path / "out", [SAFE, away])
    release(run, tmp_path / "out", [SAFE, away], allow_unchecked=True)
    with pytest.raises(RunError, match="must not exist"):  # other figures than those in its release.json
        release(run, tmp_path / "out", [SAFE, SILENT])
