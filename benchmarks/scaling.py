"""What more patients and larger networks are worth, in bits per event and in nats of outcomes.

    python benchmarks/scaling.py WORK [--steps 500] [--seeds 0 1 2]

Both sets of the Challenge 2012 in the store that `real_data.py challenge-2012` leaves in WORK. One curve grows the
training subjects and keeps the network, the other grows the network and keeps the subjects. All make the same number of
steps of 1,024 instants, one thread each; the tuning subjects choose the weights, so that few patients seen often do no
harm beyond what they teach. Scored are the same events of the same subjects. What is finished is not run again.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ablation_scores import score, summary
from common import keep

import sojourn as sj
from sojourn.files import read_json, write_json
from sojourn.training.run import Run

CONFIG: dict[str, Any] = {
    "context": 128,
    "instants_per_batch": 1024,
    "learning_rate": 3e-3,
    "evaluate_every": 100,
    "tuning_subjects": 200,
    "select": "likelihood",
}
SCORES, DONE = "scores.parquet", "arm.json"


class Arm(NamedTuple):
    """One point of a curve."""

    num_subjects: int | None
    """Training subjects; all without a number."""
    width: int
    """Of the transformer; events and the decoder's insides scale with it."""
    num_layers: int

    @property
    def name(self) -> str:
        """Of the folder."""
        return f"{self.num_subjects or 'all'}-{self.width}"

    @property
    def model(self) -> dict[str, Any]:
        """Settings of the network; a larger one leaves out more."""
        dropout = 0.15 if self.width >= MIDDLE.width else 0.05
        sizes = {"d_model": self.width, "d_event": self.width // 2, "d_decoder": self.width}
        return sizes | {"num_layers": self.num_layers, "num_heads": 4, "dropout": dropout}


MIDDLE = Arm(None, 96, 3)
PATIENTS = [Arm(count, 96, 3) for count in (200, 800, 2400)] + [MIDDLE]
NETWORKS = [Arm(None, 32, 2), Arm(None, 64, 3), MIDDLE, Arm(None, 160, 4)]


def main() -> None:
    """Train and score what is not there yet, and write `results/scaling.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    torch.set_num_threads(1)
    store = given.work / "challenge-2012" / "store"
    if not (store / "manifest.json").exists():
        raise SystemExit(
            f"{store} must be there. Run `python benchmarks/real_data.py challenge-2012 {given.work}` first."
        )
    home = given.work / "scaling" / str(given.steps)
    for seed in given.seeds:
        for arm in dict.fromkeys((*PATIENTS, *NETWORKS)):
            _train(home / arm.name / f"seed-{seed}", store, arm, CONFIG | {"seed": seed, "max_steps": given.steps})
        keep("scaling", {"steps": given.steps, "threads": torch.get_num_threads(), "config": CONFIG} | _results(home))


def _train(run: Path, store: Path, arm: Arm, config: dict[str, Any]) -> None:
    if (run / DONE).exists():
        return
    # Enough epochs for the steps, however few the subjects are.
    settings = config | {"epochs": 10_000.0, "train_subjects": arm.num_subjects, "model": arm.model}
    made = sj.pretrain(store, run, config=settings)
    opened = sj.EventStore.open(store)
    score(run, store, opened.rows(split="held_out"), run / SCORES)
    told = {"path": None, "num_subjects": _num_subjects(run), "query_nats": _query_nats(run, made.best_step)}
    write_json(run / DONE, asdict(made) | told)


def _num_subjects(run: Path) -> int:
    return int(Run(run).settings["data"]["num_training_subjects"])


def _query_nats(run: Path, step: int) -> float:
    """Nats of a question for all outcomes, of tuning subjects, with the weights that were kept."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return float(next(x["query_nats"] for x in lines if x["split"] == "tuning" and x["step"] == step))


def _results(home: Path) -> dict[str, Any]:
    return {"patients": _curve(home, PATIENTS), "networks": _curve(home, NETWORKS)}


def _curve(home: Path, arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Each point with the seeds that all points have."""

    def seeds(arm: Arm) -> set[str]:
        return {path.parent.name for path in (home / arm.name).glob(f"*/{DONE}")}

    shared = sorted(set.intersection(*(seeds(arm) for arm in arms)))
    lines = []
    for arm in arms:
        scores, base = ([home / a.name / seed / SCORES for seed in shared] for a in (arm, MIDDLE))
        made = [read_json(home / arm.name / seed / DONE) for seed in shared]
        head = {"num_subjects_trained": made[0]["num_subjects"], "width": arm.width, "num_layers": arm.num_layers}
        head |= {"num_parameters": made[0]["num_parameters"], "num_seeds": len(shared)}
        lines.append(head | {"query_nats": [told["query_nats"] for told in made]} | summary(scores, base))
    return lines


if __name__ == "__main__":
    main()
