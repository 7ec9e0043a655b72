"""What training together without moving a record is worth: local, federated by each strategy, and pooled.

    python benchmarks/federated.py WORK [--networks six] [--seeds 0 1 2 3 4] [--methods fedavg diloco ...]

Networks: `six` and `many` (31) simulated hospitals of unequal size and policy, with one more that is never seen;
`eicu` (hospitals of the eICU demo, every fourth held out whole; SOJOURN_DATA). Every method has the same network,
learning rate and number of local steps; `pooled` makes as many steps on all records as the sites make together, `local`
those of its own site alone. Each seed draws other hospitals, patients and initial weights. What a seed has finished is
not done again.
"""

import argparse
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from common import keep
from sklearn.metrics import roc_auc_score

import sojourn as sj
from sojourn.events.store import EventStore
from sojourn.federated.in_one_process import federate_store
from sojourn.federated.memory import SiteMemory
from sojourn.files import read_json, write_json
from sojourn.sources.simulator.network import default_config, write_config
from sojourn.tasks.files import read_labels, write_labels
from sojourn.training.devices import make_fabric
from sojourn.training.evaluate import tuning_loss
from sojourn.training.plan import epoch_steps
from sojourn.training.run import Run
from sojourn.training.sampler import Sampler

NETWORK = {"d_model": 48, "num_layers": 2, "d_event": 32, "d_decoder": 48, "dropout": 0.1}
PRETRAIN: dict[str, Any] = {
    "context": 128,
    "instants_per_batch": 768,
    "learning_rate": 3e-3,
    "warmup_steps": 20,
    "average_decay": 0.9,
    "num_outcome_queries": 256,
    "num_value_queries": 128,
    "tuning_subjects": 60,
    "model": NETWORK,
}
ROUNDS = {"rounds": 14, "local_steps": 10, "max_local_epochs": 2.0, "evaluate_every": 14}
METHODS: dict[str, dict[str, Any]] = {
    "fedavg": {"strategy": {"name": "fedavg"}},
    "fedprox": {"strategy": {"name": "fedprox"}},
    "fedadam": {"strategy": {"name": "fedadam"}},
    "fedyogi": {"strategy": {"name": "fedyogi"}},
    "diloco": {"strategy": {"name": "diloco"}},
    "scaffold": {"strategy": {"name": "scaffold"}},
    "fedfactor": {"strategy": {"name": "fedavg"}, "personal": True},
    "daisy": {"strategy": {"name": "daisy"}},
}
MAX_TEST = 400
"""Test subjects of one site at most."""


class Study(NamedTuple):
    """A network of hospitals."""

    make_store: Callable[[Path, int], Path]
    """(work folder, seed) -> event store."""
    is_unseen: Callable[[str], bool]
    """Which sites are never seen."""
    tasks: Sequence[str]
    min_train: int = 10
    """Sites with fewer training subjects take no part."""


def _simulated(sizes: Sequence[int]) -> Callable[[Path, int], Path]:
    def make(work: Path, seed: int) -> Path:
        network = default_config(num_sites=len(sizes) + 1, stays_per_site=1, seed=seed)
        stays = [*sizes, MAX_TEST]
        sites = [site.model_copy(update={"num_stays": n}) for site, n in zip(network.sites, stays, strict=True)]
        sites[-1] = sites[-1].model_copy(update={"name": "unseen"})
        truth = network.truth.model_copy(update={"max_stays": 1, "states": False, "num_replicates": 2})
        if not (work / "simulator.yaml").exists():
            write_config(network.model_copy(update={"sites": tuple(sites), "truth": truth}), work / "simulator.yaml")
        sj.ingest("simulator", work / "simulator.yaml", work / "meds")
        sj.build(work / "store", [work / "meds"])
        return work / "store"

    return make


def _real(source: str, place: str) -> Callable[[Path, int], Path]:
    def make(work: Path, seed: int) -> Path:
        shared = work.parent / "data"  # the records do not depend on the seed
        sj.ingest(source, Path(os.environ["SOJOURN_DATA"]) / place, shared / "meds")
        sj.build(shared / "store", [shared / "meds"])
        return shared / "store"

    return make


STUDIES = {
    "six": Study(
        _simulated([30, 80, 200, 500, 1200, 3000]), lambda s: s == "unseen", ["death-48h", "lactate-gt-4-24h"]
    ),
    "many": Study(
        _simulated([int(n) for n in np.geomspace(30, 1500, 31)]),
        lambda s: s == "unseen",
        ["death-48h", "lactate-gt-4-24h"],
    ),
    "eicu": Study(
        _real("eicu", "eicu-demo"), lambda s: zlib.crc32(s.encode()) % 4 == 0, ["death-48h", "vasopressor-24h"]
    ),
}


def main() -> None:
    """Run the studies and write `results/federated.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--networks", nargs="+", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.networks:
        for seed in given.seeds:
            one_seed(STUDIES[name], given.work / name / f"seed-{seed}", seed, given.methods)
    found = {
        name: [read_json(path) for path in sorted((given.work / name).glob("seed-*/*.json"))]
        for name in STUDIES
        if (given.work / name).exists()
    }
    summary = {name: list(summarise(rows)) for name, rows in found.items() if rows}
    print(keep("federated", {"settings": {**ROUNDS, "pretrain": PRETRAIN}, "summary": summary, "runs": found}))


def one_seed(study: Study, work: Path, seed: int, methods: Sequence[str]) -> None:
    """Train by every method and score each; a finished one is left as it is."""
    store_path = study.make_store(work, seed)
    store = EventStore.open(store_path)
    counted = store.subjects.filter(pl.col("split") == "train").group_by("site").len()
    large = dict(counted.filter(pl.col("len") >= study.min_train).iter_rows())
    known = sorted(site for site in large if not study.is_unseen(site))
    config = ROUNDS | {"min_cell": 2, "pretrain": PRETRAIN | {"seed": seed}}
    for task in study.tasks:
        if not (work / f"{task}.parquet").exists():
            sj.label(task, store_path, work / f"{task}.parquet")

    def train(name: str, sites: Iterable[str], changed: dict[str, Any]) -> tuple[Path, Any]:
        run, private = work / name / "run", work / name / "private"
        return run, federate_store(store, run, sites=list(sites), private=private, config=config | changed)

    for name in methods:
        if not (work / f"{name}.json").exists():
            run, summary = train(name, known, METHODS[name])
            made = {"megabytes": summary.megabytes, "outside_share": summary.seconds_outside / summary.seconds}
            personal = work / name / "private" if METHODS[name].get("personal") else None
            write_json(work / f"{name}.json", made | score(study, run, store, known, work, name, personal))
    if not (work / "pooled.json").exists():
        made = _pooled(work / "pooled", store_path, store, config, known, study)
        write_json(work / "pooled.json", score(study, made, store, known, work, "pooled"))
    if not (work / "local.json").exists():
        alone = [score(study, train(f"local-{s}", [s], {})[0], store, [s], work, f"local-{s}") for s in known]
        write_json(work / "local.json", {"method": "local", "seed": seed} | _mean_of(alone))


def _pooled(
    out: Path, store_path: Path, store: EventStore, config: dict[str, Any], known: list[str], study: Study
) -> Path:
    """All records in one place, for as many steps as the sites make together."""
    every = sorted(store.subjects["site"].unique())
    total = 0
    for site in known:
        rows = store.rows(split="train", sites=[site])
        plan = _plan(store, rows, config["pretrain"])
        total += config["rounds"] * min(config["local_steps"], int(np.ceil(config["max_local_epochs"] * len(plan))))
    settings = config["pretrain"] | {
        "max_steps": total,
        "epochs": 1000,
        "evaluate_every": max(total // 4, 1),
        "tuning_subjects": 300,
        "held_out_sites": [site for site in every if site not in known],
    }
    sj.pretrain(store_path, out / "run", config=settings)
    return out / "run"


def score(
    study: Study, run: Path, store: EventStore, known: list[str], work: Path, name: str, personal: Path | None = None
) -> dict[str, Any]:
    """Bits per event and AUROC at the sites that took part (held-out subjects) and at those never seen."""
    unseen = sorted(site for site in store.subjects["site"].unique() if study.is_unseen(site))
    rows = {"known": store.rows(split="held_out", sites=known), "unseen": store.rows(sites=unseen)}
    found: dict[str, Any] = {"method": name, "seed": Run(run).config.seed}
    for where, chosen in rows.items():
        chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, 2 * MAX_TEST).astype(int))] if len(chosen) else chosen
        if not len(chosen):
            continue
        found[f"bits_{where}"] = _bits(run, store, chosen, personal if where == "known" else None)
        for task in study.tasks:
            found[f"{task}_{where}"] = _auroc(run, store, work, task, chosen, f"{name}-{where}")
    return found


def _plan(store: EventStore, rows: np.ndarray, pretrain: dict[str, Any]) -> list[Any]:
    instants = store.subjects["num_instants"].to_numpy().astype(np.int64)[rows]
    size = {"context": pretrain["context"], "instants_per_batch": pretrain["instants_per_batch"]}
    return epoch_steps(rows, instants, **size, seed=0, epoch=0)


def _bits(run: Path, store: EventStore, rows: np.ndarray, personal: Path | None = None) -> float:
    """Bits per event; where the policy part stayed at the sites, each site's subjects are scored with its own."""
    opened = Run(run)
    outcomes = np.array([opened.vocabulary.index[code] for code in opened.outcomes], dtype=np.int64)
    sampler = Sampler(opened.reader(store), opened.config, outcomes, np.zeros(len(opened.vocabulary)))
    network, fabric = opened.network(), make_fabric("cpu", opened.config.precision)
    groups = [rows]
    if personal is not None:
        site = store.subjects["site"].to_numpy()[rows]
        groups = [rows[site == name] for name in np.unique(site)]
    bits = events = 0.0
    for group in groups:
        if personal is not None:
            kept = SiteMemory(personal / store.subjects["site"][int(group[0])]).before(ROUNDS["rounds"]).personal
            network.load_state_dict({name: torch.from_numpy(w) for name, w in kept.items()}, strict=False)
        result = tuning_loss(network, sampler, _plan(store, np.sort(group), PRETRAIN), fabric)
        bits, events = bits + result.bits_per_event * result.num_events, events + result.num_events
    return bits / events


def _auroc(run: Path, store: EventStore, work: Path, task: str, rows: np.ndarray, name: str) -> float | None:
    labels = read_labels(work / f"{task}.parquet")
    ids = store.subjects["subject_id"].gather(rows)
    asked, out = work / "asked" / f"{name}-{task}.parquet", work / "predictions" / f"{name}-{task}.parquet"
    write_labels(asked, labels.table.filter(pl.col("subject_id").is_in(ids.implode())), labels.task)
    if not set(labels.task["outcomes"]) & set(Run(run).outcomes):
        return None  # a hospital so small that it never saw the outcome cannot be asked for it
    if not out.exists():
        sj.predict(run, store.path, asked, out)
    made = pl.read_parquet(out)
    truth = made["boolean_value"].to_numpy()
    return float(roc_auc_score(truth, made["predicted_boolean_probability"])) if 0 < truth.mean() < 1 else None


def _mean_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean over local models of what each of them reaches; each counts the same."""
    names = [name for name in rows[0] if name not in {"method", "seed"}]
    values = {name: [row[name] for row in rows if row.get(name) is not None] for name in names}
    return {name: float(np.mean(found)) if found else None for name, found in values.items()}


def summarise(rows: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """Mean over the seeds with a 95 % t-interval, and the share of the gain from local to pooled that is reached."""
    from scipy import stats

    table = pl.DataFrame(rows, infer_schema_length=None)
    wide = {name: part for (name,), part in table.partition_by("method", as_dict=True).items()}
    for name, part in wide.items():
        line: dict[str, Any] = {"method": name, "seeds": len(part)}
        for column in [c for c in table.columns if c not in {"method", "seed"}]:
            values = part[column].drop_nulls().to_numpy()
            if len(values):
                half = (
                    stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
                    if len(values) > 1
                    else None
                )
                line[column] = {"mean": float(values.mean()), "half_width": None if half is None else float(half)}
        for where in ("known", "unseen"):
            column = f"bits_{where}"
            if {"local", "pooled"} <= wide.keys() and column in table.columns:
                joined = part.join(wide["local"].select("seed", local=column), on="seed")
                joined = joined.join(wide["pooled"].select("seed", pooled=column), on="seed")
                share = ((joined["local"] - joined[column]) / (joined["local"] - joined["pooled"])).to_numpy()
                line[f"share_of_gain_{where}"] = float(share.mean()) if len(share) else None
        yield line


if __name__ == "__main__":
    main()
