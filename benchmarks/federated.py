"""What training together without moving a record is worth: local, federated by each strategy, and pooled.

    python benchmarks/federated.py WORK [--networks six] [--seeds 0 1 2 3 4] [--methods fedavg diloco ...]

Networks: `six` and `many` (31) simulated hospitals of unequal size and policy, with one more that is never seen;
`eicu` (hospitals of the eICU demo, every fourth held out whole) and `icu-types` (Challenge 2012, one kind of unit held
out), both from SOJOURN_DATA. Every method has the same network and learning rate. `pooled` makes as many steps on all
records as the sites make together in 100 rounds (eICU: 25); `pooled-wide` as many as one site makes, each on as many
records as a step of all sites together; `local` those of each site alone. `-settled` makes twice as many rounds of a
single step more, a fifth more computing; `-float16` sends half of the bytes; `-long` three times as many rounds: three
times the computing of pooled training, in half as many steps one after another, since sites work side by side. Each
seed draws other initial weights and, where the hospitals are simulated, other hospitals and patients. What a seed has
finished is not done again.

All methods speak the vocabulary of the whole network, the local ones too: bits per event of another vocabulary, in
which what is rare at one hospital is folded into a parent, would be those of other events.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from common import keep
from federated_studies import (
    ADAPTED,
    AFTERWARDS,
    AT_HOME,
    METHODS,
    OWN_MOMENTS,
    PRETRAIN,
    STUDIES,
    Study,
    settings_of,
)
from scipy import stats
from sklearn.metrics import roc_auc_score

import sojourn as sj
from sojourn.events.store import EventStore
from sojourn.federated.coordinator import FederatedSummary, federate
from sojourn.federated.finish import rounds_of
from sojourn.federated.memory import SiteMemory
from sojourn.federated.messages import Message, Refusal
from sojourn.federated.own import own_run
from sojourn.federated.site import Site
from sojourn.federated.transport import InProcess
from sojourn.files import read_json, write_json
from sojourn.tasks.files import read_labels, write_labels
from sojourn.training.devices import make_fabric
from sojourn.training.evaluate import tuning_loss
from sojourn.training.plan import epoch_steps
from sojourn.training.run import Run
from sojourn.training.sampler import Sampler

LEAST_GAIN = 0.05
"""Bits per event below which pooled training gains too little for a share of it to say anything."""


def main() -> None:
    """Run the studies and write `results/federated.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--networks", nargs="+", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--methods", nargs="+", choices=METHODS | OWN_MOMENTS, default=list(METHODS))
    parser.add_argument("--bare", action="store_true", help="no pooled-wide, and nothing after a method's last round")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.networks:
        for seed in given.seeds:
            one_seed(STUDIES[name], given.work / name / f"seed-{seed}", seed, given.methods, is_bare=given.bare)
    found = {
        name: [read_json(path) for path in sorted((given.work / name).glob("seed-*/*.json"))]
        for name in STUDIES
        if (given.work / name).exists()
    }
    summary = {name: list(summarise(rows)) for name, rows in found.items() if rows}
    fitted = {
        name: [read_json(path) for path in sorted((given.work / name).glob("seed-*/adapted/*.json"))] for name in found
    }
    rounds = {name: study.rounds for name, study in STUDIES.items()}
    settings = {"rounds": rounds, "pretrain": PRETRAIN}
    print(keep("federated", {"settings": settings, "summary": summary, "runs": found, "adapted": fitted}))


class OneTrains(InProcess):
    """All sites agree on the vocabulary and the first hazards; then one of them trains alone."""

    def __init__(self, sites: Mapping[str, Site], alone: str) -> None:
        super().__init__(sites)
        self.alone = alone

    def ask(self, requests: Mapping[str, Message], *, timeout_s: float) -> Iterator[tuple[str, Message | Refusal]]:
        """Answers of the one site, once training has begun."""
        kinds = {message.kind for message in requests.values()}
        asked = {self.alone: requests[self.alone]} if kinds & {"train", "evaluate"} else requests
        return super().ask(asked, timeout_s=timeout_s)


def one_seed(study: Study, work: Path, seed: int, methods: Sequence[str], *, is_bare: bool = False) -> None:
    """Train by every method and score each; a finished one is left as it is."""
    store_path = study.make_store(work, seed)
    store = EventStore.open(store_path)
    counted = store.subjects.filter(pl.col("split") == "train").group_by("site").len()
    large = dict(counted.filter(pl.col("len") >= study.min_train).iter_rows())
    known = sorted(site for site in large if not study.is_unseen(site))
    config = study.rounds | {"min_cell": 2, "pretrain": PRETRAIN | {"seed": seed}}
    for task in study.tasks:
        if not (work / f"{task}.parquet").exists():
            sj.label(task, store_path, work / f"{task}.parquet")

    def train(name: str, changed: dict[str, Any], alone: str | None = None) -> tuple[Path, FederatedSummary]:
        run, sites = work / name / "run", {site: Site(site, store, work / name / "private" / site) for site in known}
        transport = InProcess(sites) if alone is None else OneTrains(sites, alone)
        return run, federate(transport, run, config=config | changed)

    def keep_score(name: str, run_of: dict[str, Path], personal: Path | None = None, **made: Any) -> None:
        found = score(study, run_of, store, work, name, personal)
        write_json(work / f"{name}.json", {"method": name, "seed": seed} | made | found)

    steps = {site: _steps(study, store, site) for site in known}
    width = sum(steps.values()) / max(steps.values())
    ceilings = [("pooled", sum(steps.values()), 1.0), ("pooled-wide", max(steps.values()), width)]
    for name, number, wide in ceilings[: 1 if is_bare else None]:
        if not (work / f"{name}.json").exists():
            keep_score(name, dict.fromkeys(known, _pooled(work / name, store, known, number, wide, seed)))
    if not (work / "local.json").exists():
        keep_score("local", {site: train(f"local-{site}", {}, alone=site)[0] for site in known})
    for name in methods:
        if not (work / f"{name}.json").exists():
            settings = settings_of(study, name)
            run, summary = train(name, settings)
            personal = work / name / "private" if settings.get("personal") else None
            outside = summary.seconds_outside / summary.seconds
            keep_score(name, dict.fromkeys(known, run), personal, megabytes=summary.megabytes, outside_share=outside)
    if is_bare:
        return
    for name in AT_HOME:
        if (work / f"{name}.json").exists() and not (work / f"{name}-at-home.json").exists():
            keep_score(f"{name}-at-home", {site: _went_on(work, name, store, site) for site in known})
    unseen = [site for site in sorted(store.subjects["site"].unique()) if study.is_unseen(site)]
    if len(unseen) == 1:
        for name in ADAPTED:
            if not (place := work / "adapted" / f"{name}.json").exists() and (work / f"{name}.json").exists():
                found = adapted(work / name / "run", store, unseen[0], work / "adapted" / name)
                write_json(place, {"method": name, "seed": seed} | found)


def _went_on(work: Path, name: str, store: EventStore, site: str) -> Path:
    """The run of a method, with what stayed at the site, fitted further to a site that took part."""
    run = work / (f"local-{site}" if name == "local" else name) / "run"
    if METHODS.get(name, {}).get("personal"):
        own_run(run, work / name / "private" / site, work / name / f"own-{site}", site=site)
        run = work / name / f"own-{site}"
    new = work / f"{name}-at-home-{site}" / "run"
    sj.adapt(run, store.path, new, site=site, config=AFTERWARDS)
    return new


def adapted(run: Path, store: EventStore, site: str, out: Path) -> dict[str, float]:
    """Bits per event of held-out subjects of an unseen site, before and after fitting the run to its other records."""
    rows = store.rows(split="held_out", sites=[site])
    found = {"before": _bits(run, store, rows)}
    for what in ("site", "all"):
        sj.adapt(run, store.path, out / what, site=site, config={"what": what})
        found[what] = _bits(out / what, store, rows)
    return found


def _steps(study: Study, store: EventStore, site: str) -> int:
    """Steps of a site in a whole training."""
    rounds = study.rounds
    plan = _plan(store, store.rows(split="train", sites=[site]), PRETRAIN)
    return int(rounds["rounds"] * min(rounds["local_steps"], int(np.ceil(rounds["max_local_epochs"] * len(plan)))))


def _pooled(out: Path, store: EventStore, known: list[str], steps: int, width: float, seed: int) -> Path:
    """All records in one place, for some steps that are `width` times as large as a site's."""
    every = sorted(store.subjects["site"].unique())
    settings = PRETRAIN | {
        "seed": seed,
        "instants_per_batch": round(width * PRETRAIN["instants_per_batch"]),
        "max_steps": steps,
        "epochs": 1000,
        "evaluate_every": max(1, steps // 5),
        "tuning_subjects": 300,
        "held_out_sites": [site for site in every if site not in known],
    }
    sj.pretrain(store.path, out / "run", config=settings)
    return out / "run"


def score(
    study: Study, run_of: dict[str, Path], store: EventStore, work: Path, name: str, personal: Path | None
) -> dict[str, Any]:
    """Bits per event and AUROC at the sites that took part (held-out subjects) and at those never seen.

    Known sites are asked of the run that they would use, and count the same; several runs are averaged elsewhere.
    """
    unseen = sorted(site for site in store.subjects["site"].unique() if study.is_unseen(site))
    rows_of = {site: store.rows(split="held_out", sites=[site])[: study.max_test] for site in run_of}
    rows_of = {site: rows for site, rows in rows_of.items() if len(rows)}
    elsewhere = store.rows(sites=unseen)
    elsewhere = elsewhere[np.unique(np.linspace(0, len(elsewhere) - 1, 2 * study.max_test).astype(int))]
    runs = sorted(set(run_of.values()))
    bits = {
        site: _bits(run_of[site], store, rows, personal and SiteMemory(personal / site))
        for site, rows in rows_of.items()
    }
    found: dict[str, Any] = {
        "bits_by_site": bits,
        "bits_known": float(np.mean(list(bits.values()))),
        "bits_unseen": float(np.mean([_bits(run, store, elsewhere) for run in runs])),
    }
    for task in study.tasks:
        asked = [
            _risks(run, store, work, task, np.concatenate(rows), f"{name}-known")
            for run in runs
            if (rows := [own for site, own in rows_of.items() if run_of[site] == run])
        ]
        found[f"{task}_known"] = _auroc(pl.concat(asked))
        told = [_auroc(_risks(run, store, work, task, elsewhere, f"{name}-unseen")) for run in runs]
        found[f"{task}_unseen"] = float(np.mean([one for one in told if one is not None]))
    return found


def _plan(store: EventStore, rows: np.ndarray, pretrain: dict[str, Any]) -> list[Any]:
    instants = store.subjects["num_instants"].to_numpy().astype(np.int64)[rows]
    size = {"context": pretrain["context"], "instants_per_batch": pretrain["instants_per_batch"]}
    return epoch_steps(rows, instants, **size, seed=0, epoch=0)


def _bits(run: Path, store: EventStore, rows: np.ndarray, memory: SiteMemory | None = None) -> float:
    """Bits per event; where the policy part stayed at the site, with the site's own."""
    opened = Run(run)
    outcomes = np.array([opened.vocabulary.index[code] for code in opened.outcomes], dtype=np.int64)
    sampler = Sampler(opened.reader(store), opened.config, outcomes, np.zeros(len(opened.vocabulary)))
    network, fabric = opened.network(), make_fabric("cpu", opened.config.precision)
    if memory is not None:
        own = {name: torch.from_numpy(weight) for name, weight in memory.before(rounds_of(run)).personal.items()}
        network.load_state_dict(own, strict=False)
    return tuning_loss(network, sampler, _plan(store, np.sort(rows), PRETRAIN), fabric).bits_per_event


def _risks(run: Path, store: EventStore, work: Path, task: str, rows: np.ndarray, name: str) -> pl.DataFrame:
    """Labels and predicted risks of some subjects, 0 where the run never saw the outcome and cannot be asked."""
    labels = read_labels(work / f"{task}.parquet")
    ids = store.subjects["subject_id"].gather(rows.astype(np.int64))
    chosen = labels.table.filter(pl.col("subject_id").is_in(ids.implode()))
    if not set(labels.task["outcomes"]) & set(Run(run).outcomes) or not len(chosen):
        return chosen.select("boolean_value", risk=pl.lit(0.0))
    name = f"{run.parent.name}-{name}-{task}.parquet"
    write_labels(work / "asked" / name, chosen, labels.task)
    if not (work / "predictions" / name).exists():
        sj.predict(run, store.path, work / "asked" / name, work / "predictions" / name)
    made = pl.read_parquet(work / "predictions" / name)
    return made.select("boolean_value", risk=pl.col("predicted_boolean_probability").cast(float))


def _auroc(risks: pl.DataFrame) -> float | None:
    truth = risks["boolean_value"].to_numpy()
    return float(roc_auc_score(truth, risks["risk"])) if 0 < truth.mean() < 1 else None


def summarise(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Means over the seeds, the share of the gain from local to pooled training, and paired gains over FedAvg."""
    plain = [{name: figure for name, figure in row.items() if name != "bits_by_site"} for row in rows]
    table = pl.DataFrame(plain, infer_schema_length=None)
    wide = {name: part for (name,), part in table.partition_by("method", as_dict=True).items()}
    plain = wide.get("fedavg", wide.get("fedavg-own-moments", table.clear()))
    for name, part in wide.items():
        line: dict[str, Any] = {"method": name, "seeds": len(part)}
        for column in [c for c in table.columns if c not in {"method", "seed"}]:
            if values := part[column].drop_nulls().to_list():
                line[column] = _interval(values)
        for where in ("known", "unseen"):
            column = f"bits_{where}"
            others = [other for other in ("local", "pooled", "pooled-wide") if other in wide]
            joined = part.select("seed", column)
            for other in others:
                figures = wide[other].select("seed", pl.col(column).alias(other))
                joined = joined.join(figures, on="seed")
            if not len(joined) or "local" not in others:
                continue
            gain = (joined["local"] - joined[column]).mean()
            for ceiling in others[1:]:
                most = (joined["local"] - joined[ceiling]).mean()
                # Where even pooled training hardly beats the local one, there is no gain to have a share of.
                line[f"share_of_gain_{where}_{ceiling}"] = gain / most if most > LEAST_GAIN else None
            paired = joined.join(plain.select("seed", fedavg=column), on="seed")
            if len(paired):
                line[f"below_fedavg_{where}"] = _interval((paired["fedavg"] - paired[column]).to_list())
        yield line


def _interval(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and half a 95 % t-interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "half_width": None if half is None else float(half)}


if __name__ == "__main__":
    main()
