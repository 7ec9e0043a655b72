"""A real deployment on the loopback, with faults: TLS, node keys, four nodes and a coordinator, each a process.

    python benchmarks/federated_deployment.py WORK

Four simulated hospitals of unequal size train over Flower. A node is killed (SIGKILL) while it trains, and started
again; then the coordinator is killed and started again by the same command. The run's bits per event are set beside
those of the same training in one process, undisturbed. With OMP_NUM_THREADS=1 they are the same to the last digit;
with several threads sums are added up in another order. Afterwards all audit logs are checked, a tampered manifest is
offered to the nodes, the nodes attack the finished weights before these are released, and a node that nobody
registered tries to come in.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import keep

import sojourn as sj
from sojourn.events.store import EventStore
from sojourn.federated.coordinator import FederatedSummary
from sojourn.federated.flower.deployment import MANIFEST, release_run
from sojourn.federated.flower.homes import (
    CoordinatorHome,
    SiteHome,
    free_port,
    init_coordinator,
    join_site,
    open_coordinator,
    open_site,
)
from sojourn.federated.on_one_machine import federate_store
from sojourn.files import read_json, write_json
from sojourn.sources.simulator.network import default_config, write_config

STAYS = {"alder": 80, "birch": 150, "cedar": 300, "elm": 600}
CONFIG: dict[str, Any] = {
    "rounds": 6,
    "local_steps": 8,
    "evaluate_every": 2,
    "timeout_s": 900.0,
    "strategy": {"name": "diloco"},
    "personal": True,
    "pretrain": {
        "context": 128,
        "instants_per_batch": 768,
        "learning_rate": 3e-3,
        "warmup_steps": 10,
        "num_outcome_queries": 256,
        "num_value_queries": 128,
        "tuning_subjects": 60,
        "precision": "32-true",
        "model": {"d_model": 48, "num_layers": 2, "d_event": 32, "d_decoder": 48, "dropout": 0.1},
    },
}
_PATIENCE_S = 1800.0


class Deployment:
    """A coordinator, its sites, and the processes that run them.

    Parameters
    ----------
    work : folder for everything.
    store : store of all sites; each node is told of its own site only.
    sites : names of the sites.
    config : settings of the training.
    """

    def __init__(self, work: Path, store: Path, sites: list[str], config: dict[str, Any]) -> None:
        self.work, self.sites, self.run = work, sites, work / "run"
        home = init_coordinator(work / "coordinator", address=f"127.0.0.1:{free_port()}")
        for name in sites:
            self.join(name, store)
            home.register(work / name / "registration.json")
        write_json(work / "config.yaml", config)  # JSON is YAML
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def join(self, name: str, store: Path, folder: str | None = None) -> SiteHome:
        """Make a site's folder."""
        invitation = self.work / "coordinator" / "invitation.json"
        return join_site(self.work / (folder or name), name=name, store=store, invitation=invitation)

    @property
    def coordinator(self) -> CoordinatorHome:
        """The coordinator's folder."""
        return open_coordinator(self.work / "coordinator")

    def site(self, name: str) -> SiteHome:
        """A site's folder."""
        return open_site(self.work / name)

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `sojourn federate run` for a site or the coordinator; what it says goes to a file."""
        command = [sys.executable, "-m", "sojourn.cli", "federate", "run", str(self.work / name), *arguments]
        with (self.work / f"{name}.out").open("ab") as said:
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            self.processes[name] = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
        return self.processes[name]

    def lead(self) -> subprocess.Popen[bytes]:
        """Start the coordinator, or start it again."""
        return self.start("coordinator", str(self.run), "--config", str(self.work / "config.yaml"))

    def kill(self, name: str) -> None:
        """Take a process away without a word."""
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()

    def approve_all(self) -> None:
        """Wait until the job has been offered everywhere, and agree to it."""
        for name in self.sites:
            approvals = self.site(name).approvals
            wait_until(lambda asked=approvals: bool(asked.offered()), f"no job was offered to {name}", self)
            for job in approvals.offered():
                if job.state == "waiting":
                    approvals.approve(job.digest, by="benchmark")

    def stop(self) -> None:
        """End all processes that were started here."""
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def rounds_done(self) -> int:
        """Rounds that the run has finished, as its log says."""
        path = self.run / "metrics.jsonl"
        return sum('"split": "train"' in line for line in path.read_text().splitlines()) if path.exists() else 0

    def said(self, name: str) -> str:
        """What a process wrote."""
        return (self.work / f"{name}.out").read_text()


def wait_until(is_so: Callable[[], bool], otherwise: str, deployment: Deployment) -> None:
    """Wait for something; if it does not happen, end with what the coordinator said."""
    deadline = time.monotonic() + _PATIENCE_S
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{otherwise}: {deployment.said('coordinator')[-2000:]}")
        time.sleep(0.05)


def play(deployment: Deployment, *, victim: str, kill_node_in: int, kill_coordinator_after: int) -> dict[str, Any]:
    """Train with a node killed in the middle of a round, and the coordinator killed between two.

    Parameters
    ----------
    deployment : not yet started.
    victim : site whose node is killed.
    kill_node_in : number of the round, from 0, in which it is training when it is killed.
    kill_coordinator_after : finished rounds after which the coordinator is killed.

    Returns
    -------
    dict
        What happened.
    """
    began = time.monotonic()
    for name in deployment.sites:
        deployment.start(name)
    deployment.lead()
    deployment.approve_all()
    log = deployment.site(victim).log

    def is_training() -> bool:
        lines = [line for line in log.lines() if line.get("kind") == "train"]
        return bool(lines) and lines[-1]["event"] == "asked" and lines[-1]["round"] == kill_node_in

    wait_until(is_training, f"{victim} was not asked to train", deployment)
    deployment.kill(victim)
    deployment.start(victim)
    wait_until(lambda: deployment.rounds_done() >= kill_coordinator_after, "the rounds stopped", deployment)
    deployment.kill("coordinator")
    at_kill = deployment.rounds_done()
    status = deployment.lead().wait(timeout=_PATIENCE_S)
    if status:
        raise RuntimeError(f"the coordinator ended with {status}: {deployment.said('coordinator')[-2000:]}")
    told = log.lines()
    return {
        "rounds_when_killed": at_kill,
        "rounds": deployment.rounds_done(),
        "node_starts": sum(line["event"] == "node_started" for line in told),
        "seconds": time.monotonic() - began,
        "logs_whole": all(
            not home.log.verify().problems for home in (deployment.coordinator, *map(deployment.site, deployment.sites))
        ),
        "refused": _refusals(deployment.run),
    }


def _refusals(run: Path) -> list[str]:
    path = run / "refusals.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def offer_tampered(deployment: Deployment) -> dict[str, str]:
    """Offer a manifest that was changed after it was signed, to nodes that run: what each says."""
    from sojourn.federated.flower.deployment import _read_manifest, _transport

    signed, manifest = _read_manifest(deployment.coordinator, deployment.run)
    tampered = signed.replace(b'"max_questions":3', b'"max_questions":2')
    if tampered == signed:
        raise ValueError("the manifest must hold what is changed here")
    with _transport(deployment.coordinator, manifest) as transport:
        return transport.offer(tampered, timeout_s=300)


def try_stranger(deployment: Deployment, store: Path) -> tuple[int, str]:
    """Start a node that was never registered, beside a coordinator: its exit status and its last words."""
    from sojourn.federated.flower.deployment import _read_manifest, _transport

    deployment.join(deployment.sites[0], store, "stranger")
    manifest = _read_manifest(deployment.coordinator, deployment.run)[1]
    with _transport(deployment.coordinator, manifest):
        status = deployment.start("stranger").wait(timeout=300)
    return status, deployment.said("stranger").strip()


def bits(run: Path) -> float:
    """Bits per event of the weights that a run kept."""
    from sojourn.federated.checkpoint import load_progress
    from sojourn.federated.config import read_federated

    progress = load_progress(run, read_federated(_config_of(run)))
    if progress is None:
        raise ValueError(f"{run} must be a federated run")
    return progress.bits


def _config_of(run: Path) -> dict[str, Any]:
    config: dict[str, Any] = read_json(run / MANIFEST)["manifest"]["config"]
    return config


def make_store(work: Path) -> Path:
    """Four simulated hospitals."""
    network = default_config(num_sites=len(STAYS), stays_per_site=1, seed=0)
    named = zip(network.sites, STAYS.items(), strict=True)
    sites = tuple(site.model_copy(update={"name": name, "num_stays": stays}) for site, (name, stays) in named)
    truth = network.truth.model_copy(update={"max_stays": 1, "states": False, "num_replicates": 2})
    if not (work / "simulator.yaml").exists():
        write_config(network.model_copy(update={"sites": sites, "truth": truth}), work / "simulator.yaml")
    sj.ingest("simulator", work / "simulator.yaml", work / "meds")
    sj.build(work / "store", [work / "meds"])
    return work / "store"


def main() -> None:
    """Play, compare and write `results/federated_deployment.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    work: Path = parser.parse_args().work
    work.mkdir(parents=True, exist_ok=True)
    store = make_store(work)
    deployment = Deployment(work / "deployment", store, list(STAYS), CONFIG)
    try:
        found = play(deployment, victim="cedar", kill_node_in=2, kill_coordinator_after=4)
        tampered = offer_tampered(deployment)
        released = release_run(deployment.coordinator, deployment.run, work / "released")
    finally:
        deployment.stop()
    stranger = try_stranger(deployment, store)
    whole: FederatedSummary = federate_store(
        EventStore.open(store), work / "one-process", sites=list(STAYS), private=work / "private", config=CONFIG
    )
    content = {
        "settings": CONFIG,
        "stays": STAYS,
        "deployment": found | {"bits_per_event": bits(deployment.run)},
        "one_process": {"bits_per_event": whole.bits_per_event, "seconds": whole.seconds},
        "tampered_manifest": tampered,
        "released": asdict(released) | {"path": "released"},
        "stranger": {"status": stranger[0], "says": stranger[1][-300:]},
    }
    print(keep("federated_deployment", content))


if __name__ == "__main__":
    main()
