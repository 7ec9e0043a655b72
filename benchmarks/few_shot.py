"""What a few labelled stays are worth: a run asked, probed and fine-tuned, beside LightGBM on hand features.

    python benchmarks/few_shot.py WORK OUT [--studies NAME ...] [--sizes 10 100 1000] [--draws 5] [--threads 1]

WORK holds what `real_data.py challenge-2012 WORK` and `unseen_hospital.py WORK/unseen` leave; OUT takes what is made
here, and what is there is not made again. Every method of a draw learns from the same stays and is tested on the same
others. `challenge-2012`: half of set b is labelled and drawn from, the other half tested on, by a run pre-trained on
set a. `challenge-2012-a-to-b`: labels of set a, whose outcomes that run has seen already. `simulated-hospital`: a
hospital of the simulator that the run has never seen.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import RESULTS, keep
from few_shot_scores import draw_figure, score
from few_shot_studies import STUDIES, Study, draw

import sojourn as sj
from sojourn.files import atomic_file, read_json
from sojourn.inference.probe import embed
from sojourn.tasks.features import hand_features
from sojourn.tasks.files import Labels, read_labels, read_predictions, write_labels
from sojourn.training.run import Run
from sojourn.trust.baselines import Fitted, fit_lightgbm, fit_logistic

FINETUNED = {"fine-tuned": "full", "fine-tuned-lora": "lora"}
FITTED = {
    "probe": ("states", "logistic"),
    "probe-trees": ("states", "lightgbm"),
    "probe-table": ("both", "logistic"),
    "probe-trees-table": ("both", "lightgbm"),
    "logistic": ("table", "logistic"),
    "lightgbm": ("table", "lightgbm"),
}
"""Method -> (features, head), with the settings of the baselines."""


class Inputs(NamedTuple):
    """Features of the pool and of the test labels, by the name of the features."""

    pool: dict[str, np.ndarray]
    test: dict[str, np.ndarray]


def main() -> None:
    """Run the studies and write `results/few_shot.json` and `results/few_shot.png`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--studies", nargs="+", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    path = RESULTS / "few_shot.json"
    found: dict[str, Any] = read_json(path)["studies"] if path.exists() else {}
    for name in given.studies:
        folder = given.out / name
        folder.mkdir(parents=True, exist_ok=True)
        study = STUDIES[name](given.work, folder)
        rows = list(_rows(study, folder, given.sizes, given.draws))
        found[name] = {
            "task": study.task,
            "note": study.note,
            "num_pool_stays": study.pool.table["subject_id"].n_unique(),
            "num_test_stays": study.test.table["subject_id"].n_unique(),
            "num_test_labels": study.test.table.height,
            "prevalence": float(study.test.table["boolean_value"].mean()),  # type: ignore[arg-type]
            "rows": rows,
        }
        print(keep("few_shot", {"studies": {k: found[k] for k in STUDIES if k in found}}))
    draw_figure({k: found[k] for k in STUDIES if k in found}, path.with_suffix(".png"))


def _rows(study: Study, folder: Path, sizes: list[int], draws: int) -> Iterator[dict[str, Any]]:
    """Scores of every method and number of labels."""
    test = folder / "test.parquet"
    write_labels(test, study.test.table, study.test.task)
    inputs = _inputs(study, folder)
    without = {
        "zero-shot": lambda out: sj.predict(study.run, study.store, test, out),
        "lightgbm-others": lambda out: sj.baseline("lightgbm", *study.others, study.store, test, out),
    }
    for method, make in without.items():
        yield _row(study, method, None, [_predicted(folder / f"{method}.parquet", make)])
    for size in sizes:
        for method in (*FITTED, *FINETUNED):
            risks = []
            for number in range(draws):
                labels = folder / f"labels-{size}-{number}.parquet"
                if not labels.exists():
                    chosen = draw(study.pool, size, number)
                    write_labels(labels, chosen.table, chosen.task)
                stem = f"{method}-{size}-{number}"
                if method in FITTED:
                    risks.append(_fitted(study, inputs, read_labels(labels), method, number))
                else:
                    make = _finetuned(study, folder / "runs" / stem, labels, test, FINETUNED[method], number)
                    risks.append(_predicted(folder / f"{stem}.parquet", make))
            yield _row(study, method, size, risks)


def _row(study: Study, method: str, size: int | None, risks: list[np.ndarray]) -> dict[str, Any]:
    row = {"method": method, "labels": size, **score(study.test.table, risks)}
    print(method, size, {name: round(value, 3) for name, value in row["auroc"].items()}, flush=True)
    return row


def _predicted(out: Path, make: Callable[[Path], Any]) -> np.ndarray:
    """Risks of the test labels, made where they are not there yet."""
    if not out.exists():
        make(out)
    return read_predictions(out).table["predicted_boolean_probability"].to_numpy().astype(np.float64)


def _finetuned(study: Study, run: Path, labels: Path, test: Path, method: str, seed: int) -> Callable[[Path], Any]:
    def make(out: Path) -> None:
        sj.finetune(study.run, study.store, labels, run, config={"method": method, "seed": seed})
        sj.predict(run, study.store, test, out)

    return make


def _inputs(study: Study, folder: Path) -> Inputs:
    """States and hand features of all labels, computed once: the same as `sojourn baseline probe` would use."""
    run, store = Run(study.run), sj.EventStore.open(study.store)
    found = []
    for part, labels in (("pool", study.pool), ("test", study.test)):
        path = folder / f"{part}.npz"
        if not path.exists():
            states, table = embed(run, run.network(), store, labels), hand_features(store, labels.table).matrix
            with atomic_file(path) as place, place.open("wb") as file:
                np.savez(file, states=states, table=table)
        with np.load(path) as kept:
            columns = {name: kept[name] for name in ("states", "table")}
        found.append(columns | {"both": np.hstack([columns["states"], columns["table"]])})
    return Inputs(*found)


def _fitted(study: Study, inputs: Inputs, labels: Labels, method: str, seed: int) -> np.ndarray:
    """Risks of the test labels by a head on features."""
    features, head = FITTED[method]
    rows = study.pool.table["subject_id"].is_in(labels.table["subject_id"].unique().implode()).to_numpy()
    known = study.pool.table.filter(rows)
    x, y = inputs.pool[features][rows], known["boolean_value"].to_numpy()
    model: Fitted = fit_logistic(x, y, seed=seed)
    if head == "lightgbm":
        model = fit_lightgbm(x, y, known["subject_id"].to_numpy(), seed=seed)
    return model.predict(inputs.test[features]).astype(np.float64)


if __name__ == "__main__":
    main()
