"""What the commands do: lead a training over Flower, run a node, evaluate a finished run at the sites."""

import math
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sojourn.errors import ConfigError, FederationError, RunError, UpdateRefusedError
from sojourn.federated.config import FederatedConfig, read_federated
from sojourn.federated.flower.homes import CoordinatorHome, SiteHome
from sojourn.federated.governance.governed import GovernedSite
from sojourn.federated.governance.keys import public_text
from sojourn.federated.governance.manifest import Manifest, code_digest, propose, sign_manifest, verify_manifest
from sojourn.federated.messages import Message, Refusal
from sojourn.federated.scores import PARTS, check_scores
from sojourn.files import atomic_file, locked

if TYPE_CHECKING:
    from sojourn.federated.coordinator import FederatedSummary
    from sojourn.federated.flower.node import Node
    from sojourn.federated.flower.transport import FlowerTransport
    from sojourn.federated.released import ReleaseReport
    from sojourn.federated.site import Site
    from sojourn.federated.validation import SiteFigures

MANIFEST = "manifest.json"
NODE_LOCK = "node.lock"
"""Held by the node that runs."""


@dataclass(frozen=True, slots=True)
class SiteScore:
    """How well a run does at a site, as the site told."""

    site: str
    bits_per_event: float
    """On the site's tuning subjects; NaN where it told nothing."""
    num_events: int
    told: str
    """ok, or why there is nothing: too_few, or the reason of a refusal."""


def run_coordinator(
    home: CoordinatorHome,
    run: Path,
    *,
    config: FederatedConfig | dict[str, object] | None = None,
    name: str = "",
    purpose: str = "",
    min_consents: int | None = None,
    patience_s: float = 3600.0,
) -> "FederatedSummary":
    """Lead a training: offer the manifest, wait for consent, make the rounds. The same call goes on after a stop.

    Parameters
    ----------
    home : the coordinator's folder.
    run : folder of the run; the signed manifest is kept in it.
    config : settings, for a new run; a run that was begun keeps those of its manifest.
    name, purpose : of the job, for the people who decide; by default the run folder's name.
    min_consents : sites that must agree; None for the config's `min_sites`.
    patience_s : how long to wait for them.

    Raises
    ------
    ConfigError
        If no site is registered, or the settings are not those of the run's manifest.
    FederationError
        If too few sites agree or answer.
    """
    from sojourn.federated.coordinator import federate

    signed, manifest = _signed(home, run, config, name or run.name, purpose)
    with _transport(home, manifest) as transport:
        least = min_consents or manifest.config.min_sites
        transport.wait_for_consent(signed, at_least=least, patience_s=patience_s)
        home.log.append("began", job=manifest.digest, name=manifest.name)
        summary = federate(transport, run, config=manifest.config)
        home.log.append("ended", job=manifest.digest, round=summary.rounds)
    return summary


def evaluate_run(home: CoordinatorHome, run: Path, *, timeout_s: float = 600.0) -> list[SiteScore]:
    """Loss of a finished run at each of its sites, as sums that no site tells for too few subjects.

    Parameters
    ----------
    home : the coordinator's folder.
    run : folder of a run of `run_coordinator`.
    timeout_s : how long to wait for a site.

    Raises
    ------
    RunError
        If the run is not finished.
    """
    found = _ask_about(home, run, "evaluate", {}, timeout_s)
    return [_score(site, answer) for site, answer in found.items()]


def _ask_about(
    home: CoordinatorHome, run: Path, kind: str, texts: dict[str, str], timeout_s: float
) -> dict[str, Message | Refusal]:
    """Answers of all sites of a finished run to a question about its weights."""
    from sojourn.federated.checkpoint import load_progress
    from sojourn.federated.coordinator import start_message
    from sojourn.federated.finish import rounds_of
    from sojourn.federated.messages import BEST_ROUND
    from sojourn.federated.personal import shared_names
    from sojourn.training.run import Run

    manifest = _read_manifest(home, run)[1]
    progress = load_progress(run, manifest.config)
    if progress is None or progress.round < manifest.config.rounds:
        msg = (
            f"run must be finished; {run} is at round {progress.round if progress else 0} of {manifest.config.rounds}."
        )
        raise RunError(f"{msg} Go on with `sojourn federate run`.")
    weights = {name: weight.detach().numpy() for name, weight in Run(run).network().named_parameters()}
    names = shared_names(weights, personal=manifest.config.personal)
    numbers = {BEST_ROUND: float(min(rounds_of(run), manifest.config.rounds))}
    question = Message(kind, manifest.config.rounds - 1, {name: weights[name] for name in names}, numbers, texts)
    with _transport(home, manifest) as transport:
        asked = dict.fromkeys(progress.sites, question)
        found = dict(transport.ask(asked, timeout_s=timeout_s))
        # Another job has come between at these sites; it starts again by itself in its next round.
        if left := [site for site, answer in found.items() if _is_not_started(answer)]:
            start = start_message(progress.job(run, manifest.config), manifest.config)
            begun = [
                site
                for site, answer in transport.ask(dict.fromkeys(left, start), timeout_s=timeout_s)
                if isinstance(answer, Message)
            ]
            found |= dict(transport.ask(dict.fromkeys(begun, question), timeout_s=timeout_s))
    return {site: found[site] for site in progress.sites}


def _is_not_started(answer: Message | Refusal) -> bool:
    return isinstance(answer, Refusal) and answer.reason == "not_started"


def validate_run(home: CoordinatorHome, run: Path, task: str, *, timeout_s: float = 600.0) -> "list[SiteFigures]":
    """How well a finished run ranks and calibrates a task at each of its sites, on their held-out patients.

    Parameters
    ----------
    home, run, timeout_s : as in `evaluate_run`.
    task : name of a built-in task over outcomes of the approved job.

    Raises
    ------
    RunError
        If the run is not finished.
    TaskError
        If there is no such task.
    """
    from sojourn.federated.validation import figures_of
    from sojourn.tasks.definitions import get_task

    get_task(task)
    found = _ask_about(home, run, "validate", {"task": task}, timeout_s)
    return [figures_of(site, answer) for site, answer in found.items()]


def release_run(
    home: CoordinatorHome,
    run: Path,
    out: Path,
    *,
    limit: float | None = None,
    allow_unchecked: bool = False,
    timeout_s: float = 600.0,
) -> "ReleaseReport":
    """Have every site attack a finished run's weights, and copy the run, stripped, where none is betrayed.

    Parameters
    ----------
    home, run, timeout_s : as in `evaluate_run`.
    out : folder of the run that may be handed on.
    limit : largest lower limit of an AUROC of membership that lets it go; None for `released.LIMIT`.
    allow_unchecked : let it go though some sites did not answer.

    Raises
    ------
    RunError
        If the run is not finished, or `out` holds something else.
    FederationError
        If a site's training patients are told from others, or a site did not answer.
    """
    from sojourn.federated.exposure import exposure_of
    from sojourn.federated.released import LIMIT, release

    found = [exposure_of(site, answer) for site, answer in _ask_about(home, run, "exposure", {}, timeout_s).items()]
    report = release(run, out, found, limit=LIMIT if limit is None else limit, allow_unchecked=allow_unchecked)
    home.log.append("released", job=_read_manifest(home, run)[1].digest, name=out.name)
    return report


def _score(site: str, answer: Message | Refusal) -> SiteScore:
    if isinstance(answer, Refusal):
        return SiteScore(site, math.nan, 0, answer.reason)
    try:
        check_scores(answer)
    except UpdateRefusedError as error:
        return SiteScore(site, math.nan, 0, error.reason)
    if not answer.numbers:
        return SiteScore(site, math.nan, 0, "too_few")
    events = answer.numbers["events"]
    nats = sum(answer.numbers[name] for name in PARTS)
    return SiteScore(site, nats / events / math.log(2), int(events), "ok")


def pooled_bits(scores: list[SiteScore]) -> float:
    """Bits per event over all sites that told.

    Examples
    --------
    >>> pooled_bits([SiteScore("a", 2.0, 10, "ok"), SiteScore("b", 5.0, 20, "ok")])
    4.0
    """
    told = [score for score in scores if score.told == "ok"]
    events = [score.num_events for score in told]
    return float(np.average([score.bits_per_event for score in told], weights=events)) if told else math.nan


def run_node(home: SiteHome) -> None:
    """Run a site's node until it is told to stop (Ctrl-C, or SIGTERM of a service manager).

    Raises
    ------
    FederationError
        If the coordinator does not know the node, or shows a wrong certificate, or a node of the site runs already.
    """
    code_digest()  # of the files as they are now, not as they may be after an update while the node runs
    with _alone(home):
        node = make_node(home)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: node.stop())
        home.log.append("node_started")
        node.run()
        home.log.append("node_stopped")


@contextmanager
def _alone(home: SiteHome) -> Iterator[None]:
    """Hold the site's folder: two nodes would count questions and keep states past each other."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(home.path / NODE_LOCK, wait=False))
        except BlockingIOError as error:
            msg = f"one node of {home.name} must run at a time; another one runs in {home.path}. Stop that one first."
            raise FederationError(msg) from error
        yield


def make_node(home: SiteHome) -> "Node":
    """The node of a site, with its rules between the network and its records."""
    from sojourn.federated.flower.node import Node

    site = GovernedSite(home.name, home.private, _maker(home), approvals=home.approvals, key=home.key)
    keys = {"authority": home.path / "ca.crt", "key": home.path / "node.key", "memory": home.path / "node.json"}
    return Node(home.address, answer=site.answer, **keys)


def _maker(home: SiteHome) -> "Callable[[], Site]":
    """Makes the site; torch and the store are opened with the first question that is let through."""

    def make() -> "Site":
        from sojourn.events.store import EventStore
        from sojourn.federated.site import Site

        return Site(home.name, EventStore.open(home.store), home.private, left_out=home.left_out())

    return make


@contextmanager
def _transport(home: CoordinatorHome, manifest: Manifest) -> "Iterator[FlowerTransport]":
    """An open connection to the sites of a job."""
    from sojourn.federated.flower.superlink import SuperLink
    from sojourn.federated.flower.transport import FlowerTransport

    known = home.registrations()
    missing = [site for site in manifest.sites if site not in known]
    if missing:
        raise ConfigError(f"all sites of the job must be registered; {missing[:3]} are not. Approve them again.")
    log = home.log
    files = {"certificate": home.path / "server.crt", "key": home.path / "server.key"}
    nodes = {site: told["node_key"] for site, told in known.items()}
    link = SuperLink(
        home.path / "superlink.db",
        host=home.host,
        port=home.port,
        nodes=nodes,
        on_stranger=lambda: log.append("turned_away"),
        **files,
    )
    with link:
        keys = {site: known[site]["key"] for site in manifest.sites}
        yield FlowerTransport(link, manifest.digest, keys=keys, key=home.key, log=log)


def _signed(
    home: CoordinatorHome, run: Path, config: FederatedConfig | dict[str, object] | None, name: str, purpose: str
) -> tuple[bytes, Manifest]:
    """The manifest of a run: the one it was begun with, or a new one."""
    if (run / MANIFEST).exists():
        signed, manifest = _read_manifest(home, run)
        if config is not None and read_federated(config) != manifest.config:
            msg = f"settings must be those of the run's manifest; {run} was begun with others. Choose another folder."
            raise ConfigError(msg)
        return signed, manifest
    sites = home.registrations()
    if not sites:
        msg = f"at least one site must be registered; {home.path} has none. See `sojourn federate approve --help`."
        raise ConfigError(msg)
    manifest = propose(name, read_federated(config), sites, purpose=purpose)
    signed = sign_manifest(manifest, home.key)
    with atomic_file(run / MANIFEST) as part:
        part.write_bytes(signed)
    home.log.append("proposed", job=manifest.digest, name=manifest.name)
    return signed, manifest


def _read_manifest(home: CoordinatorHome, run: Path) -> tuple[bytes, Manifest]:
    path = run / MANIFEST
    if not path.exists():
        raise ConfigError(f"{run} must be a run of `sojourn federate run`; it has no {MANIFEST}.")
    signed = path.read_bytes()
    return signed, verify_manifest(signed, allowed=(public_text(home.key),)).manifest
