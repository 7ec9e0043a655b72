"""A hospital's own run is the shared one with the part that stayed there."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import sojourn as sj
from federated.conftest import SMALL
from sojourn.errors import FederationError
from sojourn.events.store import EventStore
from sojourn.federated.coordinator import federate
from sojourn.federated.messages import BEST_ROUND, Message
from sojourn.federated.own import own_run
from sojourn.federated.personal import is_personal, shared_names
from sojourn.federated.transport import InProcess
from sojourn.training.run import Run

Make = Callable[..., InProcess]


@pytest.fixture
def finished(network_of: Make, tmp_path: Path) -> tuple[Path, Path]:
    """A run of FedFactor, and where its sites keep what is theirs."""
    run, sites = tmp_path / "run", tmp_path / "sites"
    federate(network_of(sites), run, config=SMALL | {"personal": True})
    return run, sites


def test_the_policy_part_is_the_sites_own(finished: tuple[Path, Path], tmp_path: Path) -> None:
    run, sites = finished
    report = own_run(run, sites / "north", tmp_path / "own", site="north")
    assert report.round == SMALL["rounds"]
    shared, own = load_file(run / "model.safetensors"), load_file(tmp_path / "own" / "model.safetensors")
    (place,) = (sites / "north").glob(f"*/state-{report.round - 1}.safetensors")
    kept = load_file(place)
    changed = {name for name in own if not np.array_equal(own[name], shared[name])}
    assert changed
    assert all(is_personal(name) for name in changed)
    assert all(np.array_equal(own[n], kept[f"personal/{n}"]) for n in own if is_personal(n))
    assert own_run(run, sites / "north", tmp_path / "own", site="north") == report  # the same call, again


def test_the_own_part_is_that_of_the_round_whose_weights_were_kept(network_of: Make, tmp_path: Path) -> None:
    # An outer rate that is too large: the first rounds are the best.
    pretrain = SMALL["pretrain"] | {"learning_rate": 0.02, "warmup_steps": 2}
    strategy = {"name": "diloco", "rate": 1.5}
    config = SMALL | {"personal": True, "rounds": 9, "pretrain": pretrain, "strategy": strategy}
    summary = federate(network_of(tmp_path / "sites"), tmp_path / "run", config=config)
    assert summary.best_round < 7  # the state after it is not among the last two
    report = own_run(tmp_path / "run", tmp_path / "sites" / "north", tmp_path / "own", site="north")
    assert report.round == summary.best_round
    kept = sorted(int(path.stem.split("-")[1]) + 1 for path in (tmp_path / "sites" / "north").glob("*/state-*"))
    assert kept == [summary.best_round, 8, 9]
    # Beside the weights that were kept, the sites' own parts give the score that was kept.
    names = ("nats_gap", "nats_code", "nats_value", "events")
    whole = {name: weight.detach().numpy() for name, weight in Run(tmp_path / "run").network().named_parameters()}
    weights = {name: whole[name] for name in shared_names(whole, personal=True)}
    network = network_of(tmp_path / "sites")
    asked = dict.fromkeys(network.sites, Message("evaluate", 8, weights, {BEST_ROUND: float(summary.best_round)}))
    answers = [answer for _, answer in network.ask(asked, timeout_s=10)]
    assert all(isinstance(answer, Message) for answer in answers)
    told = {name: sum(answer.numbers.get(name, 0.0) for answer in answers) for name in names}  # one has too few
    bits = sum(told[name] for name in names[:3]) / told["events"] / np.log(2)
    assert bits == pytest.approx(summary.bits_per_event, rel=1e-5)


def test_it_can_be_asked_and_adapted(finished: tuple[Path, Path], toy_store: EventStore, tmp_path: Path) -> None:
    run, sites = finished
    own_run(run, sites / "north", tmp_path / "own", site="north")
    adapted = sj.adapt(tmp_path / "own", toy_store.path, tmp_path / "further", site="north", config={"what": "all"})
    assert adapted.nats_before is not None
    lines = sj.likelihood(tmp_path / "own", toy_store.path, tmp_path / "likelihood.json")
    assert all(np.isfinite(line.bits_per_event) for line in lines)


def test_what_does_not_belong_together_is_refused(
    finished: tuple[Path, Path], network_of: Make, tmp_path: Path
) -> None:
    run, sites = finished
    with pytest.raises(FederationError, match="must hold what elsewhere kept"):
        own_run(run, sites / "north", tmp_path / "own", site="elsewhere")
    with pytest.raises(FederationError, match="must hold what north kept"):
        own_run(run, tmp_path / "nothing", tmp_path / "own", site="north")
    federate(network_of(tmp_path / "others"), tmp_path / "shared", config=SMALL)
    with pytest.raises(FederationError, match="personal: true"):
        own_run(tmp_path / "shared", sites / "north", tmp_path / "own", site="north")
    assert not (tmp_path / "own").exists()
