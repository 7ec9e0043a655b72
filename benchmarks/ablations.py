"""What each part of the model is worth, in bits per event of held-out subjects, at equal compute.

    python benchmarks/ablations.py WORK [--data NAME ...] [--arms NAME ...] [--seeds 0 1 2] [--seconds 60]

Each arm changes one thing. All train in one thread for the same CPU time: the steps that fit into `--seconds` are
counted from short trainings of every arm, so that each learning rate falls to its end with the last step. The arms take
turns at these, three times over, and the quickest counts: a busy moment of the machine costs no arm its steps. Arms are
compared on the same subjects, seed by seed. `mimic-iv` and `challenge-2012` need the stores that `real_data.py` leaves
in WORK; `simulated` makes its own, six hospitals of which one is never trained on. What is finished is not run again,
and every finished arm is in `results/ablations.json` at once.
"""

import argparse
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ablation_scores import score, summary
from common import keep
from variants.bins import BinValues
from variants.causal import CausalDecoder
from variants.checks import check, first_instants
from variants.per_event import PerEvent
from variants.replace import StepClock, in_place
from variants.total import SumAlone

import sojourn as sj
from sojourn.files import read_json, write_json
from sojourn.model import Network
from sojourn.sources.simulator import default_config, write_config
from sojourn.training.records import Ints
from sojourn.training.run import Run

BASE: dict[str, Any] = {
    "learning_rate": 3e-3,
    "evaluate_every": 1_000_000,
    "tuning_subjects": 2,
    "select": "likelihood",
    "model": {"d_model": 96, "num_layers": 3, "d_event": 96, "d_decoder": 192, "dropout": 0.15},
}
"""The sizes of `real_data.py`; weights are those after the last step, there is no choice among them."""
CALIBRATION_STEPS, CALIBRATION_ROUNDS = 24, 3
SCORES, DONE = "scores-{part}.parquet", "arm.json"


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One change of the model or of its training."""

    label: str
    config: dict[str, Any] = field(default_factory=dict)
    variant: type[Network] = Network
    context_share: float = 1.0
    """Of the instants that the model sees at once."""


ARMS = {
    "base": Arm(label="as it is"),
    "order-only": Arm(label="rotary positions in order only", config={"model": {"use_continuous_rotary": False}}),
    "no-panel": Arm(label="without what came along the last time", config={"model": {"use_panel": False}}),
    "no-recency": Arm(label="without when each code last came", config={"model": {"use_recency": False}}),
    "no-round-gaps": Arm(label="no components at round gaps", config={"model": {"use_round_gaps": False}}),
    "no-site": Arm(label="without site adapters", config={"model": {"use_site": False}}),
    "thinning": Arm(label="thinning of 30 % of the subjects", config={"thin_share": 0.3}),
    "bins": Arm(label="values in 20 bins", variant=BinValues),
    "sum-alone": Arm(label="without the last three events one by one", variant=SumAlone),
    "causal": Arm(label="recurrent decoder in the instant", variant=CausalDecoder),
    "per-event": Arm(label="one position per event", variant=PerEvent),
    "per-event-short": Arm(
        label="one position per event, a quarter of the context", variant=PerEvent, context_share=0.25
    ),
}


class Part(NamedTuple):
    """Subjects that are scored, none of which was trained on."""

    name: str
    store: Path
    rows: Ints


class Data(NamedTuple):
    """A store to train on, its settings, and what is scored."""

    store: Path
    config: dict[str, Any]
    parts: list[Part]


def main() -> None:
    """Calibrate, train and score what is not there yet."""
    given = _arguments()
    torch.set_num_threads(1)
    for name in given.data:
        data, home = DATA[name](given.work, given.stays), _home(name, given)
        steps = _steps(home, data, given)
        for seed in given.seeds:
            for arm in given.arms:
                _train(_folder(home, arm, seed, given), ARMS[arm], data, _config(data, arm, seed, steps[arm], given))
                keep(given.name, _results(given))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=60, help="CPU time of the steps of each training")
    parser.add_argument("--instants", type=int, default=256, help="instants of a step")
    parser.add_argument("--stays", type=int, default=300, help="simulated stays of each known hospital")
    parser.add_argument("--name", default="ablations", help="of the result file")
    given = parser.parse_args()
    if "base" not in given.arms:
        given.arms.insert(0, "base")
    return given


def _real(work: Path, name: str, config: dict[str, Any], leave_out: tuple[str, ...]) -> Data:
    store = work / name / "store"
    if not (store / "manifest.json").exists():
        raise SystemExit(f"{store} must be there. Run `python benchmarks/real_data.py {name} {work}` first.")
    rows = sj.EventStore.open(store).rows(split="held_out", exclude_sites=leave_out or None)
    return Data(store, config, [Part(name, store, rows)])


def _simulated(work: Path, stays: int) -> Data:
    """Five known hospitals and an unseen one."""
    home = work / "ablations" / f"simulated-{stays}"
    home.mkdir(parents=True, exist_ok=True)
    config = default_config(num_sites=6, stays_per_site=stays, seed=11)
    truth = config.truth.model_copy(update={"risks": False, "states": False})
    last = config.sites[-1].model_copy(update={"num_stays": 2 * stays})
    for name, sites in (("known", config.sites[:-1]), ("unseen", (last,))):
        part = config.model_copy(update={"sites": sites, "truth": truth})
        sj.ingest("simulator", write_config(part, home / f"{name}.yaml"), home / f"{name}-meds")
        sj.build(home / name, [home / f"{name}-meds"])
    known, unseen = (sj.EventStore.open(home / name) for name in ("known", "unseen"))
    parts = [
        Part("known hospitals", home / "known", known.rows(split="held_out")),
        Part("unseen hospital", home / "unseen", unseen.rows()),
    ]
    return Data(home / "known", {"context": 256}, parts)


DATA = {
    "mimic-iv": lambda work, _: _real(work, "mimic-iv", {"context": 256}, ()),
    "challenge-2012": lambda work, _: _real(
        work, "challenge-2012", {"context": 128, "held_out_sites": ["challenge-2012-b"]}, ("challenge-2012-b",)
    ),
    "simulated": _simulated,
}


def _config(data: Data, name: str, seed: int, steps: int, given: argparse.Namespace) -> dict[str, Any]:
    """Settings of one training; enough epochs for all steps."""
    arm = ARMS[name]
    config = BASE | data.config | arm.config | {"instants_per_batch": given.instants, "seed": seed, "max_steps": steps}
    config["model"] = BASE["model"] | arm.config.get("model", {})
    config["context"] = max(round(config["context"] * arm.context_share), 8)
    store = sj.EventStore.open(data.store)
    rows = store.rows(split="train", exclude_sites=config.get("held_out_sites") or None)
    num_instants = int(store.subjects["num_instants"].to_numpy()[rows].sum())
    return config | {"epochs": float(steps * given.instants // num_instants + 1)}


def _steps(home: Path, data: Data, given: argparse.Namespace) -> dict[str, int]:
    """Steps of each arm that fit into the CPU time."""
    times: dict[str, list[float]] = {arm: [] for arm in given.arms}
    for number in range(CALIBRATION_ROUNDS):
        for arm in given.arms:
            run = home / f"calibration-{given.instants}" / f"{arm}-{number}"
            if not (run / DONE).exists():
                _calibrate(run, arm, data, given)
            times[arm].append(read_json(run / DONE)["step_s"])
    for arm, step_s in times.items():
        print(f"{home.name}, {arm}: {', '.join(f'{1000 * t:.0f}' for t in step_s)} ms a step")
    return {arm: max(int(given.seconds / min(step_s)), 10) for arm, step_s in times.items()}


def _calibrate(run: Path, arm: str, data: Data, given: argparse.Namespace) -> None:
    """A short training of an arm; the likelihood of a variant is checked on the way."""
    shutil.rmtree(run, ignore_errors=True)
    clock = StepClock()
    config = _config(data, arm, 0, CALIBRATION_STEPS, given)
    with in_place(ARMS[arm].variant, clock):
        sj.pretrain(data.store, run, config=config)
        part = data.parts[0]
        trained, store = Run(run), sj.EventStore.open(part.store)
        counts = store.subjects["num_events"].to_numpy()[part.rows]
        row = int(part.rows[np.argmax(counts > np.median(counts))])
        check(trained.network(), first_instants(trained.reader(store), row))
    write_json(run / DONE, {"step_s": clock.step_s})


def _train(run: Path, arm: Arm, data: Data, config: dict[str, Any]) -> None:
    """Train and score one arm, unless that is done; one that was interrupted begins anew, so that its time is known."""
    if (run / DONE).exists():
        return
    shutil.rmtree(run, ignore_errors=True)
    clock, began = StepClock(), time.process_time()
    with in_place(arm.variant, clock):
        made = sj.pretrain(data.store, run, config=config)
        whole_s = time.process_time() - began
        for part in data.parts:
            score(run, part.store, part.rows, run / SCORES.format(part=part.name))
    figures = {
        "steps": made.steps,
        "num_parameters": made.num_parameters,
        "cpu_s": round(clock.total_s, 1),
        "whole_cpu_s": round(whole_s, 1),
    }
    write_json(run / DONE, figures)


def _home(name: str, given: argparse.Namespace) -> Path:
    """Folder of a data set's runs; those of other simulated hospitals lie elsewhere."""
    return given.work / "ablations" / (f"simulated-{given.stays}" if name == "simulated" else name)


def _folder(home: Path, arm: str, seed: int, given: argparse.Namespace) -> Path:
    return home / f"{given.seconds:g}s-{given.instants}" / arm / f"seed-{seed}"


def _results(given: argparse.Namespace) -> dict[str, Any]:
    """Everything that is finished with these settings, whatever this call was asked for."""
    found: dict[str, Any] = {}
    for name in DATA:
        for part in PARTS[name]:
            lines = dict(_lines(_home(name, given), part, given))
            if lines:
                found[f"{name}, {part}" if part != name else name] = lines
    settings = {
        "seconds": given.seconds,
        "instants_per_batch": given.instants,
        "stays_per_site": given.stays,
        "threads": torch.get_num_threads(),
    }
    return settings | {"config": BASE, "data": found}


PARTS = {
    "mimic-iv": ["mimic-iv"],
    "challenge-2012": ["challenge-2012"],
    "simulated": ["known hospitals", "unseen hospital"],
}


def _lines(home: Path, part: str, given: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each arm of a part with the seeds that the base model has too."""

    def seeds(arm: str) -> set[int]:
        done = (home / f"{given.seconds:g}s-{given.instants}" / arm).glob(f"seed-*/{DONE}")
        return {int(path.parent.name.removeprefix("seed-")) for path in done}

    for name, arm in ARMS.items():
        both = sorted(seeds(name) & seeds("base"))
        if both:
            runs, base = ([_folder(home, a, seed, given) for seed in both] for a in (name, "base"))
            figures = [read_json(run / DONE) for run in runs]
            measured = {key: [f[key] for f in figures] for key in ("steps", "cpu_s", "whole_cpu_s")}
            tables = [[run / SCORES.format(part=part) for run in arms] for arms in (runs, base)]
            head = {"label": arm.label, "seeds": both, "num_parameters": figures[0]["num_parameters"]}
            yield name, head | measured | summary(*tables)


if __name__ == "__main__":
    main()
