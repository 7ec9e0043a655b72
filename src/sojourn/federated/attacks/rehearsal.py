"""A training is rehearsed and attacked: with and without noise, on records of which a coin left half out.

Patients of one site go by chance to three equal groups: members, who are trained on; others, who are left out; and a
group of which the attacker trains a reference of its own. The reference must not depend on who is a member: one that
had learnt from those left out would tell them apart by itself. Canaries go to three groups likewise: a reference that
had seen none would find all of them unlikely, some more than others, and that would drown what was remembered.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sojourn.errors import ConfigError
from sojourn.events.build import build_store
from sojourn.events.store import EventStore
from sojourn.federated.attacks.canaries import plant
from sojourn.federated.attacks.found import Attacked, attack, read_attacked
from sojourn.federated.attacks.membership import groups_of
from sojourn.federated.config import FederatedConfig, Privacy, read_federated
from sojourn.federated.coordinator import federate
from sojourn.federated.site import Site
from sojourn.federated.transport import InProcess
from sojourn.files import read_json, write_json
from sojourn.progress import console
from sojourn.tasks.outcomes import codes_read, derive_outcomes
from sojourn.training.records import Ints

REPORT = "attacks.json"


@dataclass(frozen=True, slots=True)
class AttackReport:
    """What attacks found out of a training at one site."""

    path: str
    site: str
    num_members: int
    num_others: int
    num_reference: int
    num_canaries: int
    """Half of them, by coins, were planted; half as many more taught the reference."""
    num_steps: int
    """Steps of the site in a training, at most."""
    trainings: tuple[Attacked, ...]


def rehearse(
    out: Path,
    datasets: Sequence[Path],
    *,
    site: str,
    sites: Sequence[str] | None = None,
    config: FederatedConfig | dict[str, object] | None = None,
    epsilons: Sequence[float | None] = (None, 8.0),
    num_canaries: int = 100,
    seed: int = 0,
) -> AttackReport:
    """Train with and without noise in this process, and attack each training.

    What is finished in `out` is not done again.

    Parameters
    ----------
    out : folder for the store with canaries, the trainings, and `attacks.json`; it holds a copy of the records.
    datasets : MEDS data sets.
    site : the one that is attacked.
    sites : those that take part; all by default.
    config : the planned training; its `privacy` gives clip and patients per step, `epsilons` the rest.
    epsilons : cost of a training to each patient; None is a training without noise.
    num_canaries : half of them are planted; half as many more teach the reference.
    seed : of groups, coins and canaries.

    Raises
    ------
    ConfigError
        If the site has too few patients or codes, the settings are wrong, or `out` holds a rehearsal with others.
    """
    planned = read_federated(config)
    configs = {epsilon: _with(planned, epsilon) for epsilon in epsilons}  # a wrong one must not show after hours
    asked = {"site": site, "sites": sites and sorted(sites), "num_canaries": num_canaries, "seed": seed}
    _keep_settings(out, asked | {"config": planned.model_dump(mode="json")})
    store = _planted(out, datasets, site, num_canaries, seed)
    names = sorted(store.subjects["site"].unique()) if sites is None else sorted({site, *sites})
    rows = store.rows(split="train", sites=[site])
    planted = pl.read_parquet(out / "canaries" / "metadata" / "subject_splits.parquet", glob=False)["subject_id"]
    is_canary = store.subjects["subject_id"].gather(rows).is_in(planted.implode()).to_numpy()
    groups = groups_of(rows, is_canary, site, seed=seed)
    left_out = {site: np.setdiff1d(rows, groups.reference)}
    reference = _trained(out / "reference", store, names, left_out, _with(planned, None))
    found = []
    for epsilon in epsilons:
        name = folder_of(epsilon)
        place = out / name / "found.json"
        if not place.exists():
            console.print(f"training and attacking: {name.replace('-', ' ')}")
            members = np.concatenate([groups.patients.members, groups.canaries.members])
            own = configs[epsilon]
            run = _trained(out / name, store, names, {site: np.setdiff1d(rows, members)}, own)
            write_json(place, asdict(attack(run, reference, store, site, groups, own)))
        found.append(read_attacked(read_json(place)))
    num_reference = len(groups.reference) - num_canaries // 2
    sizes = (len(groups.patients.members), len(groups.patients.others), num_reference)
    steps = planned.rounds * planned.local_steps
    report = AttackReport(str(out), site, *sizes, num_canaries, steps, tuple(found))
    write_json(out / REPORT, asdict(report))
    return report


def folder_of(epsilon: float | None) -> str:
    """Where in the folder of a rehearsal a training lies.

    Examples
    --------
    >>> folder_of(None), folder_of(8.0)
    ('without-noise', 'epsilon-8')
    """
    return "without-noise" if epsilon is None else f"epsilon-{epsilon:g}"


def _keep_settings(out: Path, settings: dict[str, Any]) -> None:
    """Write the settings of a rehearsal, or see that they are those that `out` was begun with."""
    place = out / "rehearsal.json"
    if place.exists() and read_json(place) != settings:
        msg = f"{out} must be new, or of a rehearsal with the same settings; it holds one with others. Choose another."
        raise ConfigError(msg)
    write_json(place, settings)


# -- groups and trainings ---------------------------------------------------------------------------------------------


def _planted(out: Path, datasets: Sequence[Path], site: str, num_canaries: int, seed: int) -> EventStore:
    """The store of all data sets with all canaries."""
    canaries = out / "canaries"
    if not canaries.exists():
        plant(datasets, canaries, site=site, num=num_canaries + num_canaries // 2, seed=seed)
    build_store(out / "store", [*datasets, canaries], derive=derive_outcomes, reads=codes_read)
    return EventStore.open(out / "store")


def _with(planned: FederatedConfig, epsilon: float | None) -> FederatedConfig:
    """The planned training with another epsilon.

    Raises
    ------
    ConfigError
        If a training with noise cannot be as planned.
    """
    if epsilon is None:
        return planned.model_copy(update={"privacy": None})
    privacy = (planned.privacy or Privacy()).model_copy(update={"epsilon": epsilon})
    try:
        return read_federated(planned.model_dump() | {"privacy": privacy.model_dump()})
    except ConfigError as error:
        msg = (
            f"the planned training must be one that can have noise to be rehearsed with epsilon {epsilon:g}; {error} "
            "Change the plan, or rehearse it without noise alone (--epsilon 0)."
        )
        raise ConfigError(msg) from error


def _trained(
    out: Path, store: EventStore, names: Sequence[str], left_out: Mapping[str, Ints], config: FederatedConfig
) -> Path:
    """The run of a training in which sites leave some of their subjects out."""
    ids = store.subjects["subject_id"]
    sites = {
        name: Site(name, store, out / "private" / name, left_out=ids.gather(left_out.get(name, [])).to_list())
        for name in names
    }
    federate(InProcess(sites), out / "run", config=config)
    return out / "run"
