"""Bits per event of our model and of a GPT on quantile tokens, trained for the same time on the same records.

    python benchmarks/token_rival.py STORE WORK [--minutes 10]        # needs the extra: pip install -e '.[bench]'

Both tell the same held-out records in the language of ETHOS: a token for each code, one for the decile of its value,
one for the interval between instants; the first instant is given. Our densities are integrated over the bins (see
`sojourn.inference.binned`, also for what is scored to our disadvantage). Both train in one thread of this process, one
after the other; the GPT gets the CPU time that ours took, its looks at the tuning subjects not counted. Its learning
rate is chosen by shorter trainings and its dropout by whole ones, on the tuning subjects; our settings are taken as
they are, and the time of our looks at the tuning subjects and of learning to answer questions is counted.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import keep
from token_gpt.gpt import Settings, Trained, train
from token_gpt.language import Language, Story
from token_gpt.score import bits
from token_gpt.spread import Spread
from transformers import GPT2LMHeadModel
from transformers import __version__ as transformers_version

import sojourn as sj
from sojourn.events.store import EventStore
from sojourn.inference.binned import PARTS, binned_bits
from sojourn.inference.bins import INTERVAL_EDGES_S, fit_bins
from sojourn.training.config import read_config
from sojourn.training.records import Ints, RecordReader
from sojourn.training.run import Run

OURS: dict[str, Any] = {
    "instants_per_batch": 1024,
    "learning_rate": 3e-3,
    "select": "likelihood",
    "model": {"d_model": 96, "num_layers": 3, "d_event": 96, "d_decoder": 192, "dropout": 0.15},
}
"""The settings of `real_data.py` for sets of this size, with the weights chosen by likelihood."""
_CALIBRATION_STEPS = (10, 40)
_TUNING_TOKENS = 4000
"""Tokens of each tuning subject that a look reads."""
_MANY_EPOCHS = 200
_NUM_BOOTSTRAP = 2000


def main() -> None:
    """Train and score both, and write `results/token_rival.json`."""
    given = _arguments()
    torch.set_num_threads(1)
    store = EventStore.open(given.store)
    ours, run = _trained(given) if given.run else _train_ours(given)
    reader, network = run.reader(store), run.network()
    train_rows, tuning, held_out = (store.rows(split=split) for split in ("train", "tuning", "held_out"))
    bins = fit_bins(reader, train_rows, network.events.tick, has_short_token=given.short_token)
    language = Language(len(run.vocabulary), bins)

    def tell(epoch: int) -> list[Story]:
        return list(language.tell(reader, train_rows, np.random.default_rng([given.seed, epoch])))

    look = [_shortened(story, language) for story in language.tell(reader, tuning[: given.subjects])]
    gpt, trials = _train_gpt(given, language, tell, look, ours["cpu_s"])
    told = Told(language, reader, held_out[: given.subjects])
    scored = binned_bits(network, reader, told.rows, bins, context=run.config.context)
    if told.num_events != scored.num_events.sum():
        raise SystemExit("both models must score the same events; they do not")
    found = {
        "sojourn": scored.bits,
        "gpt": told.bits(gpt.model),
        "gpt, impossible tokens taken out": told.bits(gpt.model, network.code_head.can_emit[:-1]),
    }
    spread = Spread(reader, train_rows, bins, network.events)
    inside = np.array([spread.bits(reader.read(np.array([row]))) for row in told.rows])
    exact = {"sojourn": scored.exact.sum(1), "gpt": found["gpt"].sum(1) + inside}
    content = {
        "store": given.store.parent.name,
        "fingerprint": run.settings["data"]["fingerprint"],
        "seed": given.seed,
        "threads": torch.get_num_threads(),
        "held_out": told.figures() | {"instants": int(scored.num_instants.sum())},
        "ours": ours,
        "gpt": _figures(gpt) | {"transformers": transformers_version, "trials": trials},
        "tokens": _summary(found, scored.num_events, given.seed),
        "record_as_it_was": _summary(exact, scored.num_events, given.seed),
    }
    for line in (*content["tokens"], *content["record_as_it_was"]):
        print(line)
    print(keep(given.name, content))


class Told:
    """Held-out subjects told in tokens; those without events have no story."""

    def __init__(self, language: Language, reader: RecordReader, rows: Ints) -> None:
        self.language, self.reader, self.rows = language, reader, rows
        self.stories = {i: story for i, row in enumerate(rows) for story in language.tell(reader, np.array([row]))}
        self.num_events = sum(story.num_events for story in self.stories.values())

    def bits(self, model: GPT2LMHeadModel, can_emit: torch.Tensor | None = None) -> np.ndarray:
        """Bits of each subject in `PARTS`."""
        found = np.zeros((len(self.rows), len(PARTS)))
        found[list(self.stories)] = bits(model, self.language, list(self.stories.values()), can_emit)
        return found

    def figures(self) -> dict[str, Any]:
        """What was told."""
        num_tokens = sum(len(story.token) - story.num_given for story in self.stories.values())
        return {
            "subjects": len(self.stories),
            "events": self.num_events,
            "language_tokens": len(self.language),
            "has_short_token": self.language.bins.has_short_token,
            "tokens_per_event": round(num_tokens / self.num_events, 3),
            "share_of_gaps_below_5_minutes": round(_short_share(self.reader, self.rows), 3),
        }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("work", type=Path, help="new folder for our runs")
    parser.add_argument("--minutes", type=float, default=10, help="CPU time of each training")
    parser.add_argument("--config", type=Path, help="YAML settings of our run, instead of those of real_data.py")
    parser.add_argument("--run", type=Path, help="a run that took about that time, instead of training one")
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-4, 1e-3, 3e-3], help="learning rates of the GPT")
    parser.add_argument("--dropouts", type=float, nargs="+", default=[0.0, 0.1], help="dropouts of the GPT")
    parser.add_argument("--pilot-share", type=float, default=0.15, help="of the time, for each learning rate")
    parser.add_argument("--context", type=int, default=512, help="tokens that the GPT sees at once")
    parser.add_argument("--short-token", action="store_true", help="a token also between instants below 5 minutes")
    parser.add_argument("--subjects", type=int, help="tuning and held-out subjects that are used at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="token_rival", help="name of the result file")
    return parser.parse_args()


def _trained(given: argparse.Namespace) -> tuple[dict[str, Any], Run]:
    """A run that exists; the time that it took is taken from `--minutes`."""
    run = Run(given.run)
    return {"cpu_s": 60 * given.minutes, "config": run.settings["config"]}, run


def _train_ours(given: argparse.Namespace) -> tuple[dict[str, Any], Run]:
    """Pre-train for about the given CPU time: the steps that fit are reckoned from two short runs."""
    if given.work.exists():
        raise SystemExit(f"{given.work} exists; choose a new folder, or pass its run with --run")
    config = read_config(given.config).model_dump() if given.config else OURS
    config = config | {"seed": given.seed, "epochs": _MANY_EPOCHS}
    used = [
        _pretrain(given.store, given.work / f"calibration-{steps}", config | {"max_steps": steps})["cpu_s"]
        for steps in _CALIBRATION_STEPS
    ]
    per_step = (used[1] - used[0]) / (_CALIBRATION_STEPS[1] - _CALIBRATION_STEPS[0])
    fixed = max(used[0] - per_step * _CALIBRATION_STEPS[0], 0.0)
    steps = max(int((60 * given.minutes - fixed) / per_step), _CALIBRATION_STEPS[0])
    config |= {"max_steps": steps, "evaluate_every": max(steps // 4, 10)}
    return _pretrain(given.store, given.work / "run", config) | {"config": config}, Run(given.work / "run")


def _pretrain(store: Path, run: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Train a run; what it took."""
    began = time.process_time()
    summary = sj.pretrain(store, run, config=config)
    return {
        "num_parameters": summary.num_parameters,
        "steps": summary.steps,
        "best_step": summary.best_step,
        "cpu_s": round(time.process_time() - began, 1),
        "wall_s": None if summary.seconds is None else round(summary.seconds, 1),
    }


def _train_gpt(
    given: argparse.Namespace, language: Language, tell: Any, look: Sequence[Story], cpu_s: float
) -> tuple[Trained, list[dict[str, Any]]]:
    """Learning rate by short trainings, dropout by whole ones, both on the tuning subjects."""
    trials: list[dict[str, Any]] = []

    def tuning_bits(model: GPT2LMHeadModel) -> float:
        return float(bits(model, language, look).sum() / sum(story.num_events for story in look))

    def attempt(settings: Settings, seconds: float, looks: int) -> tuple[float, Trained]:
        trained = train(tell, len(language), settings, cpu_s=seconds, tuning_bits=tuning_bits, num_looks=looks)
        trials.append(settings._asdict() | {"cpu_s": round(trained.cpu_s, 1), "curve": trained.curve})
        print(trials[-1])
        return min(point["tuning_bits"] for point in trained.curve), trained

    plain = Settings(given.rates[0], context=given.context, seed=given.seed)
    pilots = {}
    for rate in given.rates if len(given.rates) > 1 else []:
        pilots[rate] = attempt(plain._replace(learning_rate=rate), given.pilot_share * cpu_s, 1)[0]
    best = plain._replace(learning_rate=min(pilots, key=lambda rate: pilots[rate]) if pilots else given.rates[0])
    whole = [attempt(best._replace(dropout=dropout), cpu_s, 4) for dropout in given.dropouts]
    return min(whole, key=lambda found: found[0])[1], trials


def _shortened(story: Story, language: Language) -> Story:
    """The first tokens of a story, so that a look takes seconds."""
    token = story.token[:_TUNING_TOKENS]
    num_events = int((token[story.num_given :] < language.first_value).sum())
    return story._replace(token=token, age=story.age[:_TUNING_TOKENS], num_events=num_events)


def _short_share(reader: RecordReader, rows: Ints) -> float:
    """Share of the gaps that have no token in the language of ETHOS."""
    records = reader.read(rows)
    gaps = np.diff(records.instant_time)[np.diff(records.instant_subject) == 0]
    return float((gaps < INTERVAL_EDGES_S[0]).mean())


def _figures(gpt: Trained) -> dict[str, Any]:
    config = gpt.model.config
    return {
        "num_parameters": gpt.model.num_parameters(),
        "layers": config.n_layer,
        "width": config.n_embd,
        "context": config.n_positions,
        "cpu_s": round(gpt.cpu_s, 1),
        "wall_s": round(gpt.wall_s, 1),
    }


def _summary(found: dict[str, np.ndarray], events: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Bits per event and the share by which ours are fewer, with 95 % intervals from the same draws of subjects.

    `found` holds bits of each subject, (S,), or their parts, (S, 4).
    """
    times = np.random.default_rng(seed).multinomial(len(events), np.full(len(events), 1 / len(events)), _NUM_BOOTSTRAP)
    times = times[(times @ events) > 0]
    totals = {name: each.reshape(len(events), -1).sum(1) for name, each in found.items()}
    ours, count = totals["sojourn"], float(events.sum())
    lines = []
    for name, each in found.items():
        total = totals[name]
        parts = zip(PARTS, each.sum(0) / count, strict=True) if each.ndim == 2 else ()
        lines.append(
            {
                "model": name,
                "bits_per_event": round(float(total.sum()) / count, 4),
                "interval": _ends((times @ total) / (times @ events)),
                **{part: round(float(x), 4) for part, x in parts},
                "ours_fewer_by": round(1 - float(ours.sum() / total.sum()), 4),
                "fewer_interval": _ends(1 - (times @ ours) / (times @ total)),
            }
        )
    return lines


def _ends(draws: np.ndarray) -> list[float]:
    return [round(float(x), 4) for x in np.quantile(draws, [0.025, 0.975])]


if __name__ == "__main__":
    main()
