"""A training is rehearsed and attacked: with and without noise, on records of which a coin left half out.

Patients of one site go by chance to three equal groups: members, who are trained on; others, who are left out; and a
group of which the attacker trains a reference of its own. The reference must not depend on who is a member: one that
had learnt from those left out would tell them apart by itself. Canaries go to three groups likewise: a reference that
had seen none would find all of them unlikely, some more than others, and that would drown what was remembered.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from sojourn.errors import ConfigError
from sojourn.events.build import build_store
from sojourn.events.store import EventStore
from sojourn.federated.attacks.canaries import plant
from sojourn.federated.attacks.codes import invert_codes
from sojourn.federated.attacks.guesses import guess, least_epsilon
from sojourn.federated.attacks.membership import Coins, membership_auroc, patient_losses, toss
from sojourn.federated.config import FederatedConfig, Privacy, read_federated
from sojourn.federated.coordinator import federate
from sojourn.federated.local import Job, LocalTrainer
from sojourn.federated.messages import Tensors
from sojourn.federated.privacy.accountant import Spending
from sojourn.federated.privacy.budget import planned_spending
from sojourn.federated.privacy.steps import PrivateSteps
from sojourn.federated.site import Site
from sojourn.federated.transport import InProcess
from sojourn.files import read_json, write_json
from sojourn.progress import console
from sojourn.tasks.outcomes import codes_read, derive_outcomes
from sojourn.training.records import Ints
from sojourn.training.run import Run
from sojourn.trust.bootstrap import Interval

REPORT = "attacks.json"
_BATCHES = (1, 4, 16, 64)
_TRIALS = 5
_MIN_GROUP = 20
"""Patients of a group, at least: the attacks' intervals say nothing with fewer."""


@dataclass(frozen=True, slots=True)
class CodeAttack:
    """Which codes did the patients of a step have? Guessed from the update of that step alone."""

    patients: int
    """In the step."""
    auroc: float
    """Of ranking the codes by the update."""
    baseline: float
    """Of ranking them by how frequent they are anywhere, without the update."""
    precision: float
    """Of as many codes as there truly were."""


@dataclass(frozen=True, slots=True)
class Attacked:
    """What was found out of one training."""

    epsilon: float | None
    """Promised to each patient; None without noise."""
    delta: float
    bits_per_event: float | None
    """On tuning subjects of all sites: what the noise costs; None where they are too few."""
    patients: Interval
    """AUROC of telling members from others among patients; 0.5 is chance."""
    canaries: Interval
    """The same among canaries."""
    num_guessed: int
    """Canaries that the auditor dared to guess."""
    num_right: int
    least_epsilon: float
    """What the guesses rule out, with 95 % confidence: the training leaked at least as much."""
    codes: tuple[CodeAttack, ...]


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


class Groups(NamedTuple):
    """Who is trained on at the attacked site."""

    patients: Coins
    canaries: Coins
    reference: Ints
    """Patients and canaries that teach the reference."""


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
    asked = {"site": site, "sites": sites and sorted(sites), "num_canaries": num_canaries, "seed": seed}
    _keep_settings(out, asked | {"config": planned.model_dump(mode="json")})
    store = _planted(out, datasets, site, num_canaries, seed)
    names = sorted(store.subjects["site"].unique()) if sites is None else sorted({site, *sites})
    rows = store.rows(split="train", sites=[site])
    planted = pl.read_parquet(out / "canaries" / "metadata" / "subject_splits.parquet")["subject_id"]
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
            own = _with(planned, epsilon)
            run = _trained(out / name, store, names, {site: np.setdiff1d(rows, members)}, own)
            write_json(place, asdict(_attacked(run, reference, store, site, groups, own)))
        found.append(_read(read_json(place)))
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


def groups_of(
    rows: Ints, is_canary: npt.NDArray[np.bool_], site: str, *, seed: int, coins_seed: int | None = None
) -> Groups:
    """Three groups by chance, of patients and of canaries: one teaches the reference, coins part the rest.

    Parameters
    ----------
    rows : training subjects of the site.
    is_canary : which of them are made up, shape (N,).
    site : its name, for the error.
    seed : of the groups.
    coins_seed : of the coins; the same by default. The reference does not depend on it.

    Raises
    ------
    ConfigError
        If there are too few patients.
    """
    coins = seed if coins_seed is None else coins_seed
    rng = np.random.default_rng([seed, 1])
    patients, canaries = (rng.permutation(part) for part in (rows[~is_canary], rows[is_canary]))
    sizes = (len(patients) // 3, len(canaries) // 3)
    if sizes[0] < _MIN_GROUP:
        msg = (
            f"{site} must have {3 * _MIN_GROUP} training patients to be attacked; it has {len(patients)}. Attack a "
            "larger site, or simulated records."
        )
        raise ConfigError(msg)
    reference = np.concatenate([patients[: sizes[0]], canaries[: sizes[1]]])
    return Groups(toss(patients[sizes[0] :], coins), toss(canaries[sizes[1] :], coins + 1), np.sort(reference))


def _with(planned: FederatedConfig, epsilon: float | None) -> FederatedConfig:
    """The planned training with another epsilon."""
    privacy = None
    if epsilon is not None:
        privacy = (planned.privacy or Privacy()).model_copy(update={"epsilon": epsilon})
    return read_federated(planned.model_dump() | {"privacy": privacy and privacy.model_dump()})


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


# -- attacks ----------------------------------------------------------------------------------------------------------


def _attacked(
    run: Path, reference: Path, store: EventStore, site: str, groups: Groups, config: FederatedConfig
) -> Attacked:
    opened, members = Run(run), np.concatenate([groups.patients.members, groups.canaries.members])
    patients, _, _ = _told_apart(opened, reference, store, groups.patients)
    canaries, score, is_member = _told_apart(opened, reference, store, groups.canaries)
    trainer = _trainer(opened, store, site, members)
    delta = 1 / len(trainer.rows.train)
    guesses = guess(score, is_member)
    return Attacked(
        epsilon=None if config.privacy is None else config.privacy.epsilon,
        delta=delta,
        bits_per_event=_bits(opened),
        patients=patients,
        canaries=canaries,
        num_guessed=guesses.num_guessed,
        num_right=guesses.num_right,
        least_epsilon=least_epsilon(guesses, delta),
        codes=tuple(_code_attacks(trainer, config)),
    )


def _told_apart(
    run: Run, reference: Path, store: EventStore, coins: Coins
) -> tuple[Interval, npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """AUROC of members among candidates, with the attacker's score and the truth."""
    rows, is_member = np.concatenate(coins), np.repeat([True, False], [len(part) for part in coins])
    loss, expected = (
        patient_losses(opened.network(), opened.reader(store), rows, opened.config) for opened in (run, Run(reference))
    )
    return membership_auroc(loss, expected, is_member), expected - loss, is_member


def _trainer(run: Run, store: EventStore, site: str, rows: Ints) -> LocalTrainer:
    """The finished model at the attacked site, with the subjects that it was trained on."""
    hazards = torch.zeros(len(run.vocabulary), len(run.config.network().hazard_edges_hours) + 1)
    job = Job(run.vocabulary, tuple(run.outcomes), tuple(run.sites), hazards, run.config)
    trainer = LocalTrainer(job, store, site, total_steps=1)
    trainer.network.load_state_dict(run.network().state_dict())
    trainer.rows = trainer.rows._replace(train=np.sort(rows))
    return trainer


def _bits(run: Run) -> float | None:
    """Bits per event on the tuning subjects, at the best round."""
    return min((float(line["bits_per_event"]) for line in run.metrics() if line["split"] == "tuning"), default=None)


def _code_attacks(trainer: LocalTrainer, config: FederatedConfig) -> Iterator[CodeAttack]:
    """Attack the gradients of single steps, by the number of patients in the step."""
    whole, table = trainer.rows.train, trainer.job.vocabulary.table
    popularity = table["count"].to_numpy().astype(float)
    can_emit = ~(table["target_only"] | table["is_static"]).to_numpy()
    noise = 0.0 if config.privacy is None else planned_spending(config, len(whole)).noise
    clip = float("inf") if config.privacy is None else config.privacy.clip
    for size in (size for size in _BATCHES if size <= len(whole)):
        told = []
        for trial in range(_TRIALS):
            rows = np.sort(np.random.default_rng([size, trial]).choice(whole, size, replace=False))
            update = _update(trainer, rows, Spending(1, 1.0, noise), clip, trial)
            occurred = np.zeros(len(table), dtype=bool)
            occurred[trainer.sampler.reader.read(rows).events.code] = True
            told.append(invert_codes(update, occurred, popularity, can_emit))
        means = np.mean([(one.auroc, one.baseline, one.precision) for one in told], axis=0)
        yield CodeAttack(size, *map(float, means))


def _update(trainer: LocalTrainer, rows: Ints, spending: Spending, clip: float, seed: int) -> Tensors:
    """What one step of plain descent on some patients would send: minus its gradient."""
    trainer.rows = trainer.rows._replace(train=rows)
    gradient = PrivateSteps(trainer, spending, clip=clip, seed=seed).gradient(0)
    return {name: -part.numpy() for name, part in gradient.items()}


def _read(content: dict[str, Any]) -> Attacked:
    """What `asdict` made of an `Attacked`."""
    intervals = {name: Interval(**content[name]) for name in ("patients", "canaries")}
    return Attacked(**content | intervals | {"codes": tuple(CodeAttack(**one) for one in content["codes"])})
