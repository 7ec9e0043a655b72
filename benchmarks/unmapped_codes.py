"""What a hospital loses whose codes nobody has mapped, and what the words of its codes give back.

    python benchmarks/unmapped_codes.py WORK [--seeds 0 1 2] [--words 0] [--stays 1200]

WORK is that of `unseen_hospital.py`, run before; `--stays` asks about so many of the unseen hospital's stays.

At the simulated hospital that the runs have never seen, a third of the concepts is hidden: their codes keep names,
descriptions and units. The run of `unseen_hospital.py` then predicts (1) with the mapping, (2) with these codes as
`//unknown`, (3) after `extend`, which takes their rows from codes with like words. For the seeds of `--words` a run of
the same settings is trained whose network reads words (`num_word_features`), and predicts the same three ways; its
`extend` trains nothing and takes nothing over: the words are the codes. Labels come from the mapped store.

Bits are those of some of the hospital's stays. Values of codes that stay mapped are the same events at the same
resolution in every arm. Values of hidden codes are so in the extended arms only: pooled as `//unknown` they have
another resolution, and mapped they are in the concept's unit; and a code that stands for many costs few bits. So totals
compare extended arms, not these with `//unknown`.
"""

import argparse
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from common import entries, keep

import sojourn as sj
from sojourn.adaptation.codes import extend
from sojourn.demo import TASKS
from sojourn.events.splits import splitmix64
from sojourn.tasks.files import read_labels, write_labels
from sojourn.training.batches import collate, pack
from sojourn.training.plan import cut, epoch_steps
from sojourn.training.run import Run, read_settings

HIDDEN_SHARE = 1 / 3
NUM_WORD_FEATURES = 512
NUM_SCORED = 150
"""Stays of the unseen hospital whose bits are counted."""
PARTS = ("gap", "code", "value_of_mapped", "value_of_hidden")


class Hidden(NamedTuple):
    """The store without a third of the mapping, and the names of these codes in it and with their mapping."""

    store: Path
    codes: list[str]


def main() -> None:
    """Hide, extend, predict, and write `results/unmapped_codes.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--stays", type=int, default=1200)
    parser.add_argument("--words", type=int, nargs="*", help="seeds with a run that reads words; by default all")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with_words = given.seeds if given.words is None else given.words
    found = {
        seed: _one(given.work / f"seed-{seed}", seed, given.stays, reads_words=seed in with_words)
        for seed in given.seeds
    }
    summary = _summary(found)
    for row in summary:
        print(row)
    keep("unmapped_codes", {"summary": summary, "seeds": {str(seed): one for seed, one in found.items()}})


def _summary(found: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """Per network and arm, the means over the seeds that have it."""
    rows = []
    for arm in dict.fromkeys(arm for one in found.values() for arm in one["bits"]):
        of = [one for one in found.values() if arm in one["bits"]]
        auroc = {task: float(np.mean([one["tasks"][task][arm]["auroc"]["value"] for one in of])) for task in TASKS}
        bits = {part: float(np.mean([one["bits"][arm][part] for one in of])) for part in ("total", *PARTS)}
        seeds = [seed for seed, one in found.items() if arm in one["bits"]]
        rows.append({"arm": arm, "seeds": seeds, "auroc": auroc, "bits": bits})
    return rows


def _one(demo: Path, seed: int, stays: int, *, reads_words: bool) -> dict[str, Any]:
    """All arms for one network of hospitals."""
    store = sj.EventStore.open(demo / "store")
    site = sorted(store.subjects["site"].unique())[-1]
    place = demo / "unmapped"
    hidden = _hide(demo, site, seed)
    runs = {"": demo / "run"}
    if reads_words:
        runs["words-"] = _trained_with_words(demo, place / "words")
    arms, taught = {}, {}
    for name, run in runs.items():
        report = extend(run, hidden.store, place / f"{name}extended", sites=[site])
        taught[f"{name}extended"] = {
            "num_codes": report.num_codes,
            "num_events": report.num_events,
            "num_alike": report.num_alike,
        }
        arms |= {
            f"{name}mapped": (run, demo / "store"),
            f"{name}hidden": (run, hidden.store),
            f"{name}extended": (Path(report.path), hidden.store),
        }
    tasks = {}
    for task in TASKS:
        labels = _some_labels(demo, task, stays)
        files = [place / task / f"{arm}.parquet" for arm in arms]
        for path, (run, where) in zip(files, arms.values(), strict=True):
            if not path.exists():
                sj.predict(run, where, labels, path)
        result = sj.evaluate(files, place / "evaluation" / task)
        overall = [entry for entry in entries(result.path) if entry["group"] == "overall"]
        tasks[task] = {Path(entry["file"]).stem: entry["metrics"] for entry in overall}
    bits = {arm: _bits(run, where, site, hidden.codes) for arm, (run, where) in arms.items()}
    tuning = {name or "without": _tuning(run) for name, run in runs.items()}
    return {"hidden": hidden.codes, "taught": taught, "tasks": tasks, "bits": bits, "tuning_bits": tuning}


def _some_labels(demo: Path, task: str, stays: int) -> Path:
    """The test labels of the first stays of the unseen hospital."""
    path, found = demo / "unmapped" / task / "labels.parquet", read_labels(demo / "labels" / f"{task}-test.parquet")
    if not path.exists():
        chosen = found.table["subject_id"].unique().sort()[:stays]
        write_labels(path, found.table.filter(pl.col("subject_id").is_in(chosen.implode())), found.task)
    return path


def _trained_with_words(demo: Path, run: Path) -> Path:
    """The same training with a network that reads words."""
    config = read_settings(demo / "run")["config"]
    sj.pretrain(
        demo / "store", run, config=config | {"model": config["model"] | {"num_word_features": NUM_WORD_FEATURES}}
    )
    return run


def _tuning(run: Path) -> float:
    """Best bits per event on the tuning subjects of the known hospitals."""
    return min(line["bits_per_event"] for line in Run(run).metrics() if line["split"] == "tuning")


@torch.inference_mode()
def _bits(run: Path, store: Path, site: str, hidden: list[str]) -> dict[str, float]:
    """Bits per event of some of the hospital's stays, in parts."""
    trained = Run(run)
    network, reader, config = trained.network(), trained.reader(sj.EventStore.open(store)), trained.config
    is_hidden = torch.zeros(len(trained.vocabulary), dtype=torch.bool)
    is_hidden[reader.translation.index[reader.store.vocabulary["code"].is_in(hidden).to_numpy()]] = True
    rows = reader.store.rows(sites=[site])[:NUM_SCORED]
    num_instants = reader.store.subjects["num_instants"].to_numpy().astype(np.int64)[rows]
    sums, num_events = np.zeros(len(PARTS)), 0
    for step in epoch_steps(
        rows, num_instants, context=config.context, instants_per_batch=config.instants_per_batch, seed=0, epoch=0
    ):
        records = reader.read(step.rows)
        windows = cut(records, step, config.context)
        batch = collate(records, windows, pack(windows))
        log_p, mine = network.log_prob(batch), is_hidden[batch.code]
        sums -= [float(x.double().sum()) for x in (log_p.gap, log_p.code, log_p.value[~mine], log_p.value[mine])]
        num_events += batch.num_events
    parts = dict(zip(PARTS, (float(x) for x in sums / num_events / math.log(2)), strict=True))
    return {"total": sum(parts.values()), **parts, "num_events": num_events}


def _hide(demo: Path, site: str, seed: int) -> Hidden:
    """A store of the same records, in which a third of the site's mapped concepts are unmapped."""
    meds = demo / "unmapped" / "meds"
    codes = pl.read_parquet(demo / "meds" / "metadata" / "codes.parquet")
    own = pl.scan_parquet(demo / "meds" / "data" / "*.parquet").filter(pl.col("site") == site)
    used = own.select(pl.col("code").unique()).collect()["code"]
    is_used = pl.col("code").is_in(used.implode())
    mapped = codes.filter(is_used & pl.col("concept").is_not_null())["concept"].unique().sort()
    # Whole concepts are hidden: start and end of an infusion may part, but not two names of one thing.
    draw = splitmix64(np.arange(len(mapped), dtype=np.uint64) + np.uint64(seed * 1_000_003))
    chosen = mapped.gather(np.sort(np.argsort(draw, kind="stable")[: round(HIDDEN_SHARE * len(mapped))]))
    is_hidden = is_used & pl.col("concept").is_in(chosen.implode())
    names = [*codes.filter(is_hidden)["code"], *(f"CONCEPT//{name}" for name in chosen)]
    place = demo / "unmapped" / "store"
    if place.exists():
        return Hidden(place, names)
    (meds / "metadata").mkdir(parents=True, exist_ok=True)
    if not (meds / "data").exists():
        (meds / "data").symlink_to((demo / "meds" / "data").resolve())
    for path in (demo / "meds" / "metadata").iterdir():
        (meds / "metadata" / path.name).write_bytes(path.read_bytes())
    empty = {"concept": None, "concept_unit": None, "concept_description": None, "scale": 1.0, "offset": 0.0}
    cleared = [pl.when(is_hidden).then(value).otherwise(name).alias(name) for name, value in empty.items()]
    codes.with_columns(cleared).write_parquet(meds / "metadata" / "codes.parquet")
    sj.build(place, [meds])
    return Hidden(place, names)


if __name__ == "__main__":
    main()
