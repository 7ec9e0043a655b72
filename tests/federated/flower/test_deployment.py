"""A deployment of processes on the loopback: four nodes, TLS, node keys, kills; as a hospital's IT would run it.

The code must not change while this runs: a node refuses a job of other code.
"""

import importlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from federated.conftest import SMALL
from helpers.toy_process import build_toy_store, toy_record
from sojourn.errors import ConfigError, FederationError, TaskError
from sojourn.events.store import EventStore
from sojourn.federated.flower import superlink
from sojourn.federated.flower.deployment import (
    evaluate_run,
    make_node,
    pooled_bits,
    release_run,
    run_coordinator,
    validate_run,
)
from sojourn.federated.on_one_machine import federate_store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]

SITES = ["east", "north", "south", "west"]
CONFIG: dict[str, Any] = SMALL | {"rounds": 5, "strategy": {"name": "diloco"}, "personal": True, "timeout_s": 600.0}


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The benchmark's module, which plays the same on a larger network."""
    folder = str(Path(__file__).parents[3] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("federated_deployment")
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Toy patients at four sites; those of the east are like those of the south."""
    rows = []
    for number in range(100):
        site = SITES[number % 4]
        record = toy_record(number + 1, "south" if site == "east" else site, 5)
        rows += [(*row[:4], site) for row in record]
    return build_toy_store(tmp_path_factory.mktemp("four"), num_subjects=0, rows=rows)


@pytest.fixture(scope="module")
def deployed(bench: ModuleType, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    """A training that was disturbed, and what happened in it; the nodes still run."""
    deployment = bench.Deployment(tmp_path_factory.mktemp("deployment"), store, SITES, CONFIG)
    try:
        yield deployment, bench.play(deployment, victim="south", kill_node_in=1, kill_coordinator_after=3)
    finally:
        deployment.stop()


def test_a_disturbed_training_ends_as_an_undisturbed_one(deployed: Any, store: Path, tmp_path: Path) -> None:
    deployment, found = deployed
    assert 3 <= found["rounds_when_killed"] <= 5
    assert found["rounds"] == 5
    assert found["node_starts"] == 2
    assert found["logs_whole"]
    assert found["refused"] == []
    federate_store(EventStore.open(store), tmp_path / "run", private=tmp_path / "private", config=CONFIG)
    one, other = (load_file(run / "model.safetensors") for run in (deployment.run, tmp_path / "run"))
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_the_run_is_evaluated_at_its_sites(deployed: Any, bench: ModuleType, tmp_path: Path) -> None:
    deployment, _ = deployed
    scores = evaluate_run(deployment.coordinator, deployment.run)
    assert [score.site for score in scores] == SITES
    told = {score.site: score.told for score in scores}
    assert told == dict.fromkeys(SITES, "ok") | {"south": "too_few"}  # it has one tuning subject
    assert all(score.num_events > 10 for score in scores if score.told == "ok")
    assert pooled_bits(scores) == pytest.approx(bench.bits(deployment.run), rel=1e-5)
    figures = validate_run(deployment.coordinator, deployment.run, "death-48h")
    assert [one.site for one in figures] == SITES
    assert {one.told for one in figures} <= {"ok", "too_few"}  # and no refusal
    assert all(0 <= one.auroc_lower <= one.auroc <= one.auroc_upper <= 1 for one in figures if one.told == "ok")
    with pytest.raises(FederationError, match="none of 4 did"):  # each has held-out patients, but too few
        release_run(deployment.coordinator, deployment.run, tmp_path / "released")
    with pytest.raises(TaskError, match="task must be"):
        validate_run(deployment.coordinator, deployment.run, "task.yaml")


def test_a_tampered_manifest_and_a_stranger_are_refused(deployed: Any, bench: ModuleType, store: Path) -> None:
    deployment, _ = deployed
    assert bench.offer_tampered(deployment) == dict.fromkeys(SITES, "tampered")
    status, said = bench.try_stranger(deployment, store)
    assert status == 1
    assert "must be registered" in said
    with pytest.raises(ConfigError, match="begun with others"):
        run_coordinator(deployment.coordinator, deployment.run, config=CONFIG | {"rounds": 6})


def test_nothing_that_left_a_site_holds_a_row_an_id_or_a_date(
    bench: ModuleType, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte that came in at the coordinator's end of the connection is searched; the nodes are threads here."""
    deployment = bench.Deployment(tmp_path / "work", store, SITES, CONFIG)
    came: list[bytes] = []
    pull = superlink.SuperLink.pull

    def record(self: Any, ids: set[str]) -> list[superlink.Arrival]:
        arrivals = pull(self, ids)
        came.extend(arrival.envelope or b"" for arrival in arrivals)
        return arrivals

    monkeypatch.setattr(superlink.SuperLink, "pull", record)
    nodes = [make_node(deployment.site(name)) for name in SITES]
    threads = [threading.Thread(target=node.run) for node in nodes]
    threads.append(threading.Thread(target=deployment.approve_all))
    for thread in threads:
        thread.start()
    try:
        run_coordinator(deployment.coordinator, deployment.run, config=CONFIG | {"rounds": 2}, min_consents=4)
    finally:
        for node in nodes:
            node.stop()
        for thread in threads:
            thread.join()
    everything = b"".join(came)
    assert len(everything) > 100_000
    opened = EventStore.open(store)
    origins = opened.subjects["origin"].unique()
    needles = [str(origin).encode() for origin in origins] + [str(o.date()).encode() for o in origins]
    needles += [int(value).to_bytes(8, "little") for value in origins.to_physical()]
    assert not any(needle in everything for needle in [*needles, b"subject_id"])
    for row in range(0, len(opened), 7):
        subject = opened.subject(row)
        for array in (subject.seconds, subject.value, subject.code):
            assert array[:6].tobytes() not in everything
