"""What hiding each patient costs, and what an attacker finds with and without it.

    python benchmarks/federated_privacy.py WORK [--sizes 150 600] [--seeds 0 1 2] [--rounds 6] [--epsilons 0 8 3 1]

For each size, two simulated hospitals train together, of whose patients about that many are trained on, with no
privacy and at epsilon 8, 3 and 1 (delta one over the number of patients). The first is attacked as
`sojourn federate attack` does it: it has three times as many patients, of whom a third is left out and a third teaches
the attacker's reference; of 100 canaries a coin plants each, and 50 more teach the reference. Utility: bits per event
at held-out patients and at a hospital that was never seen.

With more rounds than 6 a network learns its patients by heart, so that the attacks have something to find. The result
is then another file.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import keep
from federated_studies import NETWORK, PRETRAIN

import sojourn as sj
from sojourn.events.store import EventStore
from sojourn.federated.attacks.rehearsal import folder_of, rehearse
from sojourn.files import read_json, write_json
from sojourn.report.attacks import attack_page
from sojourn.sources.simulator.network import default_config, write_config
from sojourn.training.devices import make_fabric
from sojourn.training.evaluate import tuning_loss
from sojourn.training.plan import epoch_steps
from sojourn.training.run import Run
from sojourn.training.sampler import Sampler

FEW_ROUNDS = 6
SMALLER = {**NETWORK, "d_model": 32, "d_event": 16, "d_decoder": 32, "dropout": 0.0}
PLANNED = {
    "local_steps": 10,
    "max_local_epochs": 1000.0,
    "min_cell": 2,
    "privacy": {"clip": 1.0, "patients_per_step": 24},
    "pretrain": PRETRAIN | {"model": SMALLER, "instants_per_batch": 24 * 48, "learning_rate": 5e-3},
}
TRAINED = ("hospital-1", "hospital-2")


def main() -> None:
    """Train, attack and write `results/federated_privacy.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[150, 600])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=FEW_ROUNDS)
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0, 8, 3, 1], help="0: no privacy")
    given = parser.parse_args()
    torch.set_num_threads(1)
    work = given.work / f"{given.rounds}-rounds"
    for seed in given.seeds:
        for size in given.sizes:
            place = work / f"{size}-{seed}" / "result.json"
            if not place.exists():
                told = _study(place.parent, size, seed, given.rounds, [epsilon or None for epsilon in given.epsilons])
                write_json(place, {"size": size, "seed": seed, **told})
    found = [read_json(path) for path in sorted(work.glob("*/result.json"))]
    name = "federated_privacy" if given.rounds == FEW_ROUNDS else "federated_privacy_long"
    print(keep(name, {"settings": PLANNED | {"rounds": given.rounds}, "runs": found}))


def _study(work: Path, size: int, seed: int, rounds: int, epsilons: Sequence[float | None]) -> dict[str, Any]:
    _simulate(work, size, seed)
    config = PLANNED | {"rounds": rounds, "evaluate_every": rounds}
    config["pretrain"] = {**PLANNED["pretrain"], "seed": seed}
    told = rehearse(
        work / "attack",
        [work / "meds"],
        site=TRAINED[0],
        sites=TRAINED,
        config=config,
        epsilons=epsilons,
        seed=seed,
    )
    attack_page(told, work / "attacks.html")
    store = EventStore.open(work / "attack" / "store")
    lines = [asdict(one) | _utility(work / "attack" / folder_of(one.epsilon) / "run", store) for one in told.trainings]
    return asdict(told) | {"path": None, "trainings": lines}


def _simulate(work: Path, size: int, seed: int) -> None:
    """Two hospitals, the first three times as large, and one that is never seen."""
    network = default_config(num_sites=3, stays_per_site=round(size / 0.8), seed=seed)
    attacked = network.sites[0].model_copy(update={"num_stays": round(3 * size / 0.8)})
    unseen = network.sites[-1].model_copy(update={"name": "unseen", "num_stays": 200})
    truth = network.truth.model_copy(update={"max_stays": 1, "states": False, "num_replicates": 2})
    if not (work / "simulator.yaml").exists():
        sites = (attacked, network.sites[1], unseen)
        write_config(network.model_copy(update={"sites": sites, "truth": truth}), work / "simulator.yaml")
    sj.ingest("simulator", work / "simulator.yaml", work / "meds")


def _utility(run: Path, store: EventStore) -> dict[str, float]:
    """Bits per event where the patients were not trained on."""
    opened = Run(run)
    outcomes = np.array([opened.vocabulary.index[code] for code in opened.outcomes], dtype=np.int64)
    sampler = Sampler(opened.reader(store), opened.config, outcomes, np.zeros(len(opened.vocabulary)))
    found = {}
    places = {"known": store.rows(split="held_out", sites=TRAINED), "unseen": store.rows(sites=["unseen"])}
    for where, rows in places.items():
        instants = store.subjects["num_instants"].to_numpy().astype(np.int64)[rows]
        size = {"context": opened.config.context, "instants_per_batch": opened.config.instants_per_batch}
        plan = epoch_steps(rows, instants, **size, seed=0, epoch=0)
        fabric = make_fabric("cpu", opened.config.precision)
        found[f"bits_{where}"] = tuning_loss(opened.network(), sampler, plan, fabric).bits_per_event
    return found


if __name__ == "__main__":
    main()
