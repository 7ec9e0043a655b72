"""What hiding each patient costs, and what an attacker finds with and without it.

    python benchmarks/federated_privacy.py WORK [--sizes 150 600] [--seeds 0 1 2] [--rounds 6] [--epsilons 0 8 3 1]

For each size, two simulated hospitals of that many training patients train together with no privacy and at epsilon 8,
3 and 1 (delta one over the number of patients). Utility: bits per event at held-out patients and at a hospital that was
never seen. Attack 1: half of the patients of the first hospital, by a coin, are left out; who was in is guessed from
the loss, with a model that was trained on the other half as the reference. Attack 2: which codes did the patients of
one step have, from the update of that step alone.

With more rounds than 6 a network learns its patients by heart, so that the first attack has something to find. The
result is then another file.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import keep

import sojourn as sj
from federated import NETWORK, PRETRAIN
from sojourn.events.store import EventStore
from sojourn.federated.attacks.codes import invert_codes
from sojourn.federated.attacks.membership import Coins, membership_auroc, patient_losses, toss
from sojourn.federated.config import read_federated
from sojourn.federated.coordinator import federate
from sojourn.federated.local import LocalTrainer
from sojourn.federated.privacy.accountant import Spending
from sojourn.federated.privacy.budget import planned_spending
from sojourn.federated.privacy.steps import PrivateSteps
from sojourn.federated.site import Site
from sojourn.federated.transport import InProcess
from sojourn.files import read_json, write_json
from sojourn.sources.simulator.network import default_config, write_config
from sojourn.training.devices import make_fabric
from sojourn.training.evaluate import tuning_loss
from sojourn.training.plan import epoch_steps
from sojourn.training.run import Run
from sojourn.training.sampler import Sampler

PATIENTS_PER_STEP = 24
FEW_ROUNDS = 6
ROUNDS = {"local_steps": 10, "max_local_epochs": 1000.0, "min_cell": 2}
SMALLER = {**NETWORK, "d_model": 32, "d_event": 16, "d_decoder": 32, "dropout": 0.0}
MAX_CANDIDATES = 200
BATCHES = (1, 4, 16, 64)


def main() -> None:
    """Train, attack and write `results/federated_privacy.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[150, 600])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=FEW_ROUNDS)
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0, 8, 3, 1], help="0: no privacy")
    given = parser.parse_args()
    epsilons = [epsilon or None for epsilon in given.epsilons]
    torch.set_num_threads(1)
    for seed in given.seeds:
        for size in given.sizes:
            work = given.work / f"{size}-{seed}"
            store = _store(work, size, seed)
            if not (work / "result.json").exists():
                told = _study(work, store, seed, given.rounds, epsilons)
                write_json(work / "result.json", {"size": size, "seed": seed, **told})
    found = [read_json(path) for path in sorted(given.work.glob("*/result.json"))]
    settings = {**ROUNDS, "rounds": given.rounds, "patients_per_step": PATIENTS_PER_STEP, "network": SMALLER}
    name = "federated_privacy" if given.rounds == FEW_ROUNDS else "federated_privacy_long"
    print(keep(name, {"settings": settings, "runs": found}))


def _store(work: Path, size: int, seed: int) -> EventStore:
    """Two hospitals whose training split has about `size` patients each, and one that is never seen."""
    network = default_config(num_sites=3, stays_per_site=round(size / 0.8), seed=seed)
    unseen = network.sites[-1].model_copy(update={"name": "unseen", "num_stays": 200})
    truth = network.truth.model_copy(update={"max_stays": 1, "states": False, "num_replicates": 2})
    if not (work / "simulator.yaml").exists():
        network = network.model_copy(update={"sites": (*network.sites[:-1], unseen), "truth": truth})
        write_config(network, work / "simulator.yaml")
    sj.ingest("simulator", work / "simulator.yaml", work / "meds")
    sj.build(work / "store", [work / "meds"])
    return EventStore.open(work / "store")


def _config(epsilon: float | None, seed: int, rounds: int) -> dict[str, Any]:
    privacy = None if epsilon is None else {"epsilon": epsilon, "clip": 1.0, "patients_per_step": PATIENTS_PER_STEP}
    pretrain = PRETRAIN | {"seed": seed, "model": SMALLER, "instants_per_batch": 24 * 48, "learning_rate": 5e-3}
    own = {"rounds": rounds, "evaluate_every": rounds}
    return ROUNDS | own | {"privacy": privacy, "pretrain": pretrain}


def _study(work: Path, store: EventStore, seed: int, rounds: int, epsilons: Sequence[float | None]) -> dict[str, Any]:
    target = "hospital-1"
    rows = store.rows(split="train", sites=[target])
    coins = toss(np.random.default_rng(seed).permutation(rows), seed)
    # The reference knows the others, not the members.
    reference, _ = _train(work / "reference", store, coins.members, _config(None, seed, rounds))
    lines = []
    for epsilon in epsilons:
        config = _config(epsilon, seed, rounds)
        run, site = _train(work / f"epsilon-{epsilon}", store, coins.others, config)
        line = {"epsilon": epsilon, **_utility(run, store), "membership": _attack(run, reference, store, coins)}
        if epsilon in (None, 8.0):
            line["codes"] = list(_inversions(site, config, seed))
        lines.append(line)
    return {"lines": lines}


def _train(out: Path, store: EventStore, left_out: np.ndarray, config: dict[str, Any]) -> tuple[Path, Site]:
    ids = store.subjects["subject_id"].gather(left_out).to_list()
    site = Site("hospital-1", store, out / "private" / "hospital-1", left_out=ids)
    other = Site("hospital-2", store, out / "private" / "hospital-2")
    federate(InProcess({"hospital-1": site, "hospital-2": other}), out / "run", config=config)
    return out / "run", site


def _utility(run: Path, store: EventStore) -> dict[str, float]:
    """Bits per event where the patients were not trained on."""
    opened = Run(run)
    outcomes = np.array([opened.vocabulary.index[code] for code in opened.outcomes], dtype=np.int64)
    sampler = Sampler(opened.reader(store), opened.config, outcomes, np.zeros(len(opened.vocabulary)))
    found = {}
    places = {
        "known": store.rows(split="held_out", sites=["hospital-1", "hospital-2"]),
        "unseen": store.rows(sites=["unseen"]),
    }
    for where, rows in places.items():
        instants = store.subjects["num_instants"].to_numpy().astype(np.int64)[rows]
        size = {"context": opened.config.context, "instants_per_batch": opened.config.instants_per_batch}
        plan = epoch_steps(rows, instants, **size, seed=0, epoch=0)
        fabric = make_fabric("cpu", opened.config.precision)
        found[f"bits_{where}"] = tuning_loss(opened.network(), sampler, plan, fabric).bits_per_event
    return found


def _attack(run: Path, reference: Path, store: EventStore, coins: Coins) -> dict[str, float]:
    """Guess who was trained on."""
    members, others = (part[:MAX_CANDIDATES] for part in coins)
    rows = np.concatenate([members, others])
    is_member = np.repeat([True, False], [len(members), len(others)])
    losses = []
    for path in (run, reference):
        opened = Run(path)
        losses.append(patient_losses(opened.network(), opened.reader(store), rows, opened.config))
    found = membership_auroc(losses[0], losses[1], is_member)
    return {"auroc": found.value, "lower": found.lower, "upper": found.upper, "candidates": len(rows)}


def _inversions(site: Site, config: dict[str, Any], seed: int) -> Iterator[dict[str, float]]:
    """Attack the gradients of single steps of the finished model, by the number of patients in the step."""
    trainer, _ = site._opened()
    whole = trainer.rows.train
    table = trainer.job.vocabulary.table
    popularity = table["count"].to_numpy().astype(float)
    can_emit = ~(table["target_only"] | table["is_static"]).to_numpy()
    noise = 0.0
    if config["privacy"] is not None:
        noise = planned_spending(read_federated(config), len(whole)).noise
    for batch in (size for size in BATCHES if size <= len(whole)):
        found = []
        for trial in range(5):
            rows = np.random.default_rng([seed, batch, trial]).choice(whole, batch, replace=False)
            update = _update(trainer, rows, noise, trial)
            found.append(invert_codes(update, _codes_of(trainer, rows), popularity, can_emit))
        names = ("auroc", "baseline", "precision")
        yield {"patients": batch, **{name: float(np.mean([getattr(one, name) for one in found])) for name in names}}
    trainer.rows = trainer.rows._replace(train=whole)


def _update(trainer: LocalTrainer, rows: np.ndarray, noise: float, seed: int) -> dict[str, np.ndarray]:
    """What one step of plain descent on some patients would send: minus its gradient."""
    trainer.rows = trainer.rows._replace(train=rows)
    clip = 1.0 if noise else float("inf")
    PrivateSteps(trainer, Spending(1, 1.0, noise), clip=clip, seed=seed)._set_gradient(0)
    return {n: -p.grad.numpy().copy() for n, p in trainer.network.named_parameters() if p.grad is not None}


def _codes_of(trainer: LocalTrainer, rows: np.ndarray) -> np.ndarray:
    occurred = np.zeros(len(trainer.job.vocabulary), dtype=bool)
    occurred[trainer.sampler.reader.read(rows).events.code] = True
    return occurred


if __name__ == "__main__":
    main()
