"""Whole trainings over toy hospitals: they learn, resume, refuse, and send no record."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from federated.conftest import SMALL
from sojourn.errors import FederationError, RunError
from sojourn.events.store import EventStore
from sojourn.federated.coordinator import federate
from sojourn.federated.messages import Message, Refusal, pack
from sojourn.federated.personal import is_personal
from sojourn.federated.site import Site
from sojourn.federated.transport import InProcess
from sojourn.training.run import Run

Make = Callable[..., InProcess]
STRATEGIES = ("fedavg", "fedprox", "fedadam", "fedyogi", "diloco", "scaffold", "daisy")


def lines(run: Path, split: str) -> list[dict[str, Any]]:
    return [x for x in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if x["split"] == split]


class Changed:
    """A transport that lets a test change or record what passes."""

    def __init__(self, inner: InProcess, change: Callable[[str, Message], Message | Refusal]) -> None:
        self.inner, self.change = inner, change

    @property
    def sites(self) -> tuple[str, ...]:
        return self.inner.sites

    def ask(self, requests: Mapping[str, Message], *, timeout_s: float) -> Iterator[tuple[str, Message | Refusal]]:
        for site, answer in self.inner.ask(requests, timeout_s=timeout_s):
            yield site, answer if isinstance(answer, Refusal) else self.change(site, answer)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_learns(name: str, network_of: Make, tmp_path: Path) -> None:
    summary = federate(network_of(), tmp_path / "run", config=SMALL | {"strategy": {"name": name}})
    tuning = [line["bits_per_event"] for line in lines(tmp_path / "run", "tuning")]
    assert min(tuning) == pytest.approx(summary.bits_per_event, rel=1e-5)
    assert tuning[-1] < tuning[0]
    assert summary.refused == 0
    assert Run(tmp_path / "run").network() is not None


def test_the_run_of_one_training_is_the_same_each_time(network_of: Make, tmp_path: Path) -> None:
    for name in ("one", "two"):
        federate(network_of(), tmp_path / name, config=SMALL)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("strategy", ["diloco", "scaffold"])
def test_an_interrupted_training_goes_on_to_the_same_weights(strategy: str, network_of: Make, tmp_path: Path) -> None:
    """The coordinator and every site are lost in the middle of round 3; what is on disk is enough."""
    config = SMALL | {"rounds": 4, "strategy": {"name": strategy}, "personal": True}
    federate(network_of(tmp_path / "sites-whole"), tmp_path / "whole", config=config)

    def fail(site: str, answer: Message) -> Message:
        if answer.kind == "train" and answer.round == 2 and site == "south":
            raise KeyboardInterrupt
        return answer

    with pytest.raises(KeyboardInterrupt):
        federate(Changed(network_of(tmp_path / "sites"), fail), tmp_path / "run", config=config)
    assert len(lines(tmp_path / "run", "tuning")) == 2
    summary = federate(network_of(tmp_path / "sites"), tmp_path / "run", config=config)
    assert summary.rounds == 4
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "run"))
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)
    with pytest.raises(RunError, match="same settings"):
        federate(network_of(), tmp_path / "run", config=config | {"local_steps": 2})


@pytest.mark.parametrize(
    ("factor", "reason"),
    [(np.nan, "not_finite"), (100.0, "too_large"), ("shape", "wrong_shape"), ("name", "wrong_names")],
)
def test_a_site_with_a_bad_update_is_left_out_with_its_reason(
    factor: Any, reason: str, network_of: Make, tmp_path: Path
) -> None:
    def spoil(site: str, answer: Message) -> Message:
        if (site, answer.kind, answer.round) != ("south", "train", 1):
            return answer
        if factor == "shape":
            return answer._replace(tensors={name: tensor[None] for name, tensor in answer.tensors.items()})
        if factor == "name":
            return answer._replace(tensors={f"{name}2": tensor for name, tensor in answer.tensors.items()})
        return answer._replace(tensors={name: tensor * factor for name, tensor in answer.tensors.items()})

    summary = federate(Changed(network_of(), spoil), tmp_path / "run", config=SMALL)
    refused = [json.loads(line) for line in (tmp_path / "run" / "refusals.jsonl").read_text().splitlines()]
    assert [(line["site"], line["round"], line["reason"]) for line in refused] == [("south", 2, reason)]
    assert summary.refused == 1
    assert [line["sites"] for line in lines(tmp_path / "run", "train")] == [3, 2, 3]
    assert all(weight.isfinite().all() for weight in Run(tmp_path / "run").network().parameters())


def test_a_training_stops_when_too_few_sites_answer(network_of: Make, tmp_path: Path) -> None:
    def lose(site: str, answer: Message) -> Message | Refusal:
        return Refusal("unreachable") if answer.kind == "train" and site != "north" else answer

    with pytest.raises(FederationError, match="at least 2 sites; got 1"):
        federate(Changed(network_of(), lose), tmp_path / "run", config=SMALL | {"min_sites": 2})


def test_the_policy_part_never_leaves_a_site_under_fedfactor(network_of: Make, tmp_path: Path) -> None:
    seen: list[Message] = []

    def record(site: str, answer: Message) -> Message:
        seen.append(answer)
        return answer

    sites = network_of(tmp_path / "sites")
    federate(Changed(sites, record), tmp_path / "run", config=SMALL | {"personal": True})
    updates = [answer for answer in seen if answer.kind == "train"]
    assert len(updates) == 9
    assert not any(is_personal(name) for answer in updates for name in answer.tensors)
    own = load_file(tmp_path / "sites" / "north" / "state-2.safetensors")
    assert any(is_personal(name.removeprefix("personal/")) for name in own)


def test_no_row_identifier_or_date_is_in_what_is_sent(network_of: Make, toy_store: EventStore, tmp_path: Path) -> None:
    """Every byte that leaves a site is searched for ids and times as integers, text and floats."""
    sent: list[bytes] = []

    def record(site: str, answer: Message) -> Message:
        sent.append(pack(answer))
        return answer

    federate(Changed(network_of(), record), tmp_path / "run", config=SMALL)
    everything = b"".join(sent)
    origins = toy_store.subjects["origin"].unique()
    needles = [str(origin).encode() for origin in origins] + [str(o.date()).encode() for o in origins]
    needles += [int(value).to_bytes(8, "little") for value in origins.to_physical()]
    assert len(needles) > 3
    assert not any(needle in everything for needle in needles)
    assert b"subject_id" not in everything
    # A record's run of values or seconds would be a run of bytes of the store.
    for row in range(0, len(toy_store), 7):
        subject = toy_store.subject(row)
        for array in (subject.seconds, subject.value, subject.code):
            assert array[:6].tobytes() not in everything


def test_patients_who_objected_change_nothing(toy_store: EventStore, tmp_path: Path) -> None:
    """Nothing of them is read in the training."""
    names = sorted(toy_store.subjects["site"].unique())
    rows = toy_store.rows(split="train", sites=["north"])
    ids = toy_store.subjects["subject_id"].gather(rows[:5]).to_list()
    site = Site("north", toy_store, left_out=ids)
    others = {name: Site(name, toy_store) for name in names if name != "north"}
    federate(InProcess({"north": site} | others), tmp_path / "run", config=SMALL)
    trainer, _ = site._opened()
    assert not set(toy_store.subjects["subject_id"].gather(trainer.rows.train)) & set(ids)
    assert len(trainer.rows.train) == len(rows) - 5


def test_a_store_is_no_folder_for_a_run(network_of: Make, toy_store: EventStore, tmp_path: Path) -> None:
    shutil.copytree(toy_store.path, tmp_path / "store")
    before = (tmp_path / "store" / "vocabulary.parquet").read_bytes()
    with pytest.raises(RunError, match="something else"):
        federate(network_of(), tmp_path / "store", config=SMALL)
    assert (tmp_path / "store" / "vocabulary.parquet").read_bytes() == before
