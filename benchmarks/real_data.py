"""The whole way on open data: raw tables to evaluated zero-shot risks, one study at a time.

    python benchmarks/real_data.py STUDY WORK [--threads N]        # SOJOURN_DATA names the open data

Studies: challenge-2019 (subjects split 80/20 by hash), challenge-2012 (train on set a, test on set b),
eicu (whole hospitals held out), mimic-iv (held-out subjects), several (MIMIC-IV and eICU as one corpus).
"""

import argparse
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import torch
from common import entries, keep
from sklearn.metrics import roc_auc_score

import sojourn as sj
from sojourn.inference.likelihood import likelihood
from sojourn.tasks.files import read_labels, write_labels
from sojourn.training.run import Run
from sojourn.training.selection import split_rows

MAX_PROBED = 100_000
"""Training labels of a probe at most, of whole subjects: more states would not fit into a laptop's memory."""
SMALL = {"d_model": 96, "num_layers": 3, "d_event": 48, "d_decoder": 96, "dropout": 0.15}
WIDE = SMALL | {"d_event": 96, "d_decoder": 192}
"""For thousands of codes, each of which needs room."""


class Study(NamedTuple):
    """What is trained on which part, and asked of which other part."""

    sources: Sequence[tuple[str, str]]
    """(source, folder or file below SOJOURN_DATA)."""
    tasks: Sequence[str]
    config: dict[str, Any]
    is_test: Callable[[pl.DataFrame], pl.Series]
    """Which subjects of a store are never trained on."""
    num_runs: int = 1
    """Trainings that differ in the seed alone; beyond one, their ensemble is evaluated too."""
    finetuning: dict[str, Any] | None = None
    """Settings of a fine-tuning with the labels that the baselines learn from; none without."""


def _held_out_hospital(sites: pl.Series) -> pl.Series:
    """Every fourth hospital, by a checksum of its name."""
    return pl.Series([zlib.crc32(site.encode()) % 4 == 0 for site in sites])


STUDIES = {
    "challenge-2019": Study(
        [("challenge-2019", "challenge-2019/setA.parquet")],
        ["sepsis-6h"],
        {
            "epochs": 12,
            "context": 128,
            "tuning_split": None,
            "learning_rate": 3e-3,
            "evaluate_every": 400,
            "tuning_subjects": 1500,
            "model": SMALL,
        },
        lambda subjects: subjects["split"] != "train",
        num_runs=2,
        finetuning={"epochs": 4, "patience": 2},
    ),
    "challenge-2012": Study(
        [("challenge-2012", "challenge-2012")],
        ["in-hospital-death-48h"],
        {
            "epochs": 24,
            "context": 128,
            "instants_per_batch": 1024,
            "learning_rate": 3e-3,
            "tuning_split": None,
            "train_splits": ["train", "tuning", "held_out"],
            "held_out_sites": ["challenge-2012-b"],
            "evaluate_every": 200,
            "model": SMALL,
        },
        lambda subjects: subjects["site"] == "challenge-2012-b",
        num_runs=2,
        finetuning={},
    ),
    "eicu": Study(
        [("eicu", "eicu-demo")],
        ["icu-death", "death-48h", "vasopressor-24h", "ventilation-24h"],
        {"epochs": 5, "instants_per_batch": 1024, "learning_rate": 3e-3, "evaluate_every": 100, "model": WIDE},
        lambda subjects: _held_out_hospital(subjects["site"]),
    ),
    "mimic-iv": Study(
        [("mimic-iv", "mimic-iv-demo")],
        ["icu-death", "death-48h", "vasopressor-24h", "creatinine-1.5x-24h"],
        {"epochs": 5, "instants_per_batch": 1024, "learning_rate": 3e-3, "evaluate_every": 100, "model": WIDE},
        lambda subjects: subjects["split"] == "held_out",
    ),
    "several": Study(
        [("mimic-iv", "mimic-iv-demo"), ("eicu", "eicu-demo")],
        ["death-48h", "vasopressor-24h"],
        {"epochs": 3, "instants_per_batch": 1024, "learning_rate": 3e-3, "evaluate_every": 100, "model": WIDE},
        lambda subjects: subjects["split"] == "held_out",
    ),
}


def main() -> None:
    """Run one study and write `results/<study>.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("work", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    study, work = STUDIES[given.study], given.work / given.study
    store = _store(study, work)
    subjects = sj.EventStore.open(store).subjects
    is_test = study.is_test(subjects)
    config = dict(study.config)
    if given.study == "eicu":
        config["held_out_sites"] = sorted(subjects.filter(is_test)["site"].unique())
    runs = [work / ("run" if seed == 0 else f"run-{seed}") for seed in range(study.num_runs)]
    summaries = [sj.pretrain(store, run, config=config | {"seed": seed}) for seed, run in enumerate(runs)]
    told = {task: _task(study, task, store, work, runs, subjects.filter(is_test)) for task in study.tasks}
    bits = [asdict(line) for line in likelihood(work / "run", store, work / "run" / "artifacts" / "likelihood.json")]
    sj.report(work / "run", work / "report.html", title=f"{given.study}: zero-shot risks")
    figures = {
        "training": asdict(summaries[0]) | {"threads": given.threads, "path": None},
        "minutes_of_steps": [minutes_of_steps(run) for run in runs],
        "num_runs": study.num_runs,
        "config": config | {"held_out_sites": len(config.get("held_out_sites", []))},
        "num_test_subjects": int(is_test.sum()),
        "entries": [entry for found, _ in told.values() for entry in found],
        "variant": {task: chosen for task, (_, chosen) in told.items() if chosen},
        "likelihood_of_held_out_subjects": bits,
    }
    print(keep(given.study, figures))


def minutes_of_steps(run: Path) -> float:
    """Minutes that the steps of a training took, by the log's sample of them: a training may be made in parts."""
    steps = [line for line in Run(run).metrics() if line["split"] == "train"]
    return sum(line["seconds"] for line in steps) / len(steps) * steps[-1]["step"] / 60


def _store(study: Study, work: Path) -> Path:
    data = Path(os.environ["SOJOURN_DATA"])
    datasets = []
    for source, place in study.sources:
        datasets.append(work / f"{source}-meds")
        sj.ingest(source, data / place, datasets[-1])
    sj.build(work / "store", datasets)
    return work / "store"


def _task(
    study: Study, task: str, store: Path, work: Path, runs: Sequence[Path], test_subjects: pl.DataFrame
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Label, predict with everything, evaluate; and what the tuning subjects say of the variants of ours."""
    folder, labels = work / "predictions" / task, work / "labels" / f"{task}.parquet"
    if not labels.exists():
        sj.label(task, store, labels)
    known, test = _parted(labels, test_subjects["subject_id"], ("known", "test"))
    run = runs[0]
    ours: dict[str, Callable[[Path, Path], Any]] = _asked(store, runs, "sojourn")
    judges, judged = None, {}
    if study.finetuning is not None:
        teach, judges = _parted(known, _tuning_ids(run, store), ("teach", "judge"))
        taught = [_finetuned(path, store, teach, judges, study.finetuning | {"seed": i}) for i, path in enumerate(runs)]
        ours |= _asked(store, taught, "sojourn-finetuned")
        of_judges = {"lightgbm": lambda asked, out: sj.baseline("lightgbm", store, teach, store, asked, out)}
        judged = ours | of_judges | _BOTH
    made: dict[str, Callable[[Path, Path], Any]] = ours | {
        "random-weights": lambda asked, out: sj.predict(run, store, asked, out, control="random-weights"),
        "shuffled-values": lambda asked, out: sj.predict(run, store, asked, out, control="shuffled-values"),
        "prevalence": lambda asked, out: sj.baseline("prevalence", store, known, store, asked, out),
        "logistic": lambda asked, out: sj.baseline("logistic", store, known, store, asked, out),
        "lightgbm": lambda asked, out: sj.baseline("lightgbm", store, known, store, asked, out),
    }
    few = _few(known)
    if judged:
        made |= _BOTH
    made["probe"] = lambda asked, out: sj.probe(run, store, few, store, asked, out)
    made["random-weights-probe"] = lambda asked, out: sj.probe(run, store, few, store, asked, out, random_weights=True)
    for name, make in made.items():
        if not (folder / f"{name}.parquet").exists():
            make(test, folder / f"{name}.parquet")
    files = [folder / f"{name}.parquet" for name in made]
    result = sj.evaluate(files, run / "artifacts" / "evaluation" / task, by="site" if task != "sepsis-6h" else None)
    found = [entry for entry in entries(result.path) if entry["group"] == "overall"]
    return found, {} if judges is None else _chosen(judged, judges, folder / "judges")


def _blended(asked: Path, out: Path) -> None:
    """Our fine-tuned runs and boosted trees, which were asked before."""
    files = [out.with_name(f"{name}.parquet") for name in ("sojourn-finetuned-ensemble", "lightgbm")]
    sj.blend(files, out, name=out.stem)


_BOTH = {"sojourn-with-lightgbm": _blended}


def _few(labels: Path) -> Path:
    """Labels of as many subjects, by a hash of their ids, as give at most `MAX_PROBED`."""
    found = read_labels(labels)
    if len(found.table) <= MAX_PROBED:
        return labels
    hashed = pl.col("subject_id").hash(0).rank("dense")
    ordered = found.table.with_columns(place=hashed).sort("place", "prediction_time")
    kept = ordered.filter(pl.int_range(1, pl.len() + 1).max().over("place") <= MAX_PROBED).drop("place")
    path = labels.with_name(f"{labels.stem}-few.parquet")
    write_labels(path, kept.sort("subject_id", "prediction_time"), found.task)
    return path


def _asked(store: Path, runs: Sequence[Path], name: str) -> dict[str, Callable[[Path, Path], Any]]:
    """How each of some runs is asked, and all of them together."""
    made: dict[str, Callable[[Path, Path], Any]] = {}
    for seed, run in enumerate(runs):
        own = name if seed == 0 else f"{name}-seed-{seed}"
        made[own] = lambda asked, out, run=run: sj.predict(run, store, asked, out)
    if len(runs) > 1:
        made[f"{name}-ensemble"] = lambda asked, out: sj.predict(runs[0], store, asked, out, members=runs[1:])
    return made


def _tuning_ids(run: Path, store: Path) -> pl.Series:
    """Subjects from whom the pre-training did not learn, and who chose its weights."""
    opened = sj.EventStore.open(store)
    _, rows = split_rows(opened, Run(run).config)
    return opened.subjects[rows]["subject_id"]


def _chosen(made: dict[str, Callable[[Path, Path], Any]], judges: Path, folder: Path) -> dict[str, Any]:
    """AUROC of each variant on the tuning subjects, and the variant that they choose: the test takes no part."""
    found = {}
    for name, make in made.items():
        if not (folder / f"{name}.parquet").exists():
            make(judges, folder / f"{name}.parquet")
        told = pl.read_parquet(folder / f"{name}.parquet")
        found[name] = float(roc_auc_score(told["boolean_value"], told["predicted_boolean_probability"]))
    return {"auroc_of_tuning_subjects": found, "chosen": max(found, key=lambda name: found[name])}


def _finetuned(run: Path, store: Path, teach: Path, judges: Path, config: dict[str, Any]) -> Path:
    """The run, fine-tuned with the labels of subjects that it learnt from; its tuning subjects choose the epoch."""
    new_run = run.with_name(f"{run.name}-finetuned-{teach.stem}")
    print(sj.finetune(run, store, teach, new_run, tuning=judges, config=config))
    return new_run


def _parted(labels: Path, ids: pl.Series, names: tuple[str, str]) -> tuple[Path, Path]:
    """Labels of all but some subjects, and of these."""
    found = read_labels(labels)
    is_second = found.table["subject_id"].is_in(ids.implode())
    paths = (
        labels.with_name(f"{labels.stem}-{names[0]}.parquet"),
        labels.with_name(f"{labels.stem}-{names[1]}.parquet"),
    )
    for path, rows in zip(paths, (~is_second, is_second), strict=True):
        write_labels(path, found.table.filter(rows), found.task)
    return paths


if __name__ == "__main__":
    main()
