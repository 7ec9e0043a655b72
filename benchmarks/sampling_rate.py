"""How fast futures are sampled, beside a token model of the same size, and what a risk costs without sampling at all.

    pip install -e '.[bench]'
    python benchmarks/sampling_rate.py WORK [--seconds 4] [--patients 8]

Both run in one thread of one process. Ours is a network of at most 3.5 million weights, trained for a minute on
synthetic records (485 codes, 3.3 events to an instant), so that its instants are as long as theirs. The rival is GPT-2
of `transformers` with as many weights and its key/value cache. Its weights are random, which changes no speed; its loop
is bare (no `generate`, draws by cumulative sums), and the pass over its prompt is not counted, while ours is. It spends
2.2 tokens on an event (ETHOS, measured) or 1.3 (MEDS-EIC-AR, measured). When its window is full, positions cannot move,
so the window is run again: for every token, as MEDS-EIC-AR does, or, kinder, for every half window, which then sees
only the later half.

All rates are per second of CPU time. The load of the machine is kept beside them.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import synthetic_events
import torch
from common import keep
from torch import Tensor

from sojourn.events.store import EventStore
from sojourn.inference.futures import ends_of
from sojourn.inference.histories import Asked, Moments, ask, states
from sojourn.inference.sampler import FutureSampler
from sojourn.inference.starts import Starts, starts
from sojourn.model.features import time_features
from sojourn.pipeline import build
from sojourn.training.pretrain import pretrain
from sojourn.training.run import Run

try:
    from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel
except ImportError as error:
    raise SystemExit("the rival needs transformers; run `pip install -e '.[bench]'` first") from error

WINDOW, PROMPT = 512, 128
MOST_FULL_ROWS = 64
TOKENS_PER_EVENT = {"ETHOS": 2.2, "MEDS-EIC-AR": 1.3}
MODEL = {"d_model": 224, "d_event": 64, "d_decoder": 128, "num_layers": 4, "num_heads": 4, "num_bootstrap_heads": 1}
HORIZONS_H, NUM_OUTCOMES, NUM_PATIENTS, NUM_FUTURES = (6, 12, 24, 48, 72, 168), 20, 1000, 20


def prepared(work: Path) -> tuple[Run, EventStore]:
    """A store of long synthetic records, and a run trained on it for a minute."""
    synthetic_events.EVENTS_PER_SUBJECT = 2600
    meds = synthetic_events.write_synthetic(work / "meds", 600_000)
    if not (work / "store" / "manifest.json").exists():
        build(work / "store", [meds])
    settings = {"context": WINDOW, "instants_per_batch": 1024, "max_steps": 120, "epochs": 100, "evaluate_every": 120}
    settings |= {"warmup_steps": 20, "average_decay": 0.9, "learning_rate": 4e-3, "model": MODEL | {"dropout": 0.0}}
    if not (work / "run" / "model.safetensors").exists():
        pretrain(work / "store", work / "run", config=settings)
    return Run(work / "run"), EventStore.open(work / "store")


def cpu(action: Callable[[], Any], seconds: float) -> tuple[float, Any]:
    """CPU seconds of one call, the mean over as many as fit into `seconds`, after one that is not counted."""
    result = action()
    count, began = 0, time.process_time()
    while time.process_time() - began < seconds or not count:
        result, count = action(), count + 1
    return (time.process_time() - began) / count, result


class Ours:
    """The sampler on histories of a chosen number of instants."""

    def __init__(self, run: Run, store: EventStore) -> None:
        self.run, self.reader, self.network = run, run.reader(store), run.network()
        self.long = np.flatnonzero(store.subjects["num_instants"].to_numpy() > WINDOW + 1)
        self.sampler = FutureSampler(self.network, *ends_of(self.reader.vocabulary), context=WINDOW, seed=0)

    def begun(self, num_histories: int, instants: int) -> Starts:
        rows = self.long[:num_histories].astype(np.int64)
        if len(rows) < num_histories:
            raise SystemExit(f"{num_histories} records longer than {WINDOW} instants are needed; there are {len(rows)}")
        records = self.reader.read(rows)
        seconds = records.instant_time[records.subject_start[:-1] + instants - 1]
        (begun,) = starts(self.reader, Moments(rows, seconds), context=WINDOW, per_batch=num_histories)
        return begun

    def rate(self, num_histories: int, copies: int, instants: int, hours: float) -> dict[str, float]:
        """Events and instants per CPU second, the histories' own pass included."""
        begun = self.begun(num_histories, instants)
        began = time.process_time()
        events = self.sampler.sample(begun, horizon_s=hours * 3600, num_samples=copies).events
        taken = time.process_time() - began
        num_instants = len(np.unique(events.sample * 2**40 + events.seconds))
        return {
            "histories": num_histories, "futures_of_each": copies, "instants_of_history": instants,
            "events": len(events.code), "events_per_instant": len(events.code) / num_instants, "cpu_s": taken,
            "instants_of_each_future": num_instants / (num_histories * copies),
            "events_per_s": len(events.code) / taken,
        }  # fmt: skip

    def rolled(self, copies: int, before_h: float, after_h: float) -> dict[str, float]:
        """Rate between two horizons, when the window holds nothing but the future's own instants."""
        first, second = (self.rate(1, copies, 8, hours) for hours in (before_h, after_h))
        events = second["events"] - first["events"]
        return {
            "futures": copies, "instants_before": first["instants_of_each_future"],
            "instants_after": second["instants_of_each_future"],
            "events_per_s": events / (second["cpu_s"] - first["cpu_s"]),
        }  # fmt: skip


class Rival:
    """GPT-2 on tokens, with random weights and the cache of `transformers`."""

    def __init__(self, num_codes: int) -> None:
        torch.manual_seed(0)
        vocabulary = num_codes + 10 + 20  # codes, deciles, intervals
        config = GPT2Config(vocab_size=vocabulary, n_positions=WINDOW, n_embd=256, n_layer=4, n_head=4)
        self.model = GPT2LMHeadModel(config).eval()

    def forward(self, token: Tensor, cache: Any) -> Tensor:
        """Logits of the last position."""
        logits: Tensor = self.model(token, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        return logits

    def draw(self, logits: Tensor) -> Tensor:
        total = torch.softmax(logits, -1).cumsum(-1)
        drawn = torch.searchsorted(total, torch.rand(len(total), 1) * total[:, -1:], right=True)
        return drawn.clamp_max(total.shape[1] - 1)

    def decode(self, rows: int, prompt: int, count: int) -> tuple[float, float]:
        """CPU seconds of the prompt's pass and of `count` further tokens of each row."""
        cache = DynamicCache()
        token = torch.randint(0, 100, (rows, prompt))
        start = time.process_time()
        logits = self.forward(token, cache)
        begun = time.process_time()
        for _ in range(count):
            logits = self.forward(self.draw(logits), cache)
        return begun - start, time.process_time() - begun

    @torch.inference_mode()
    def rates(self, rows: int) -> dict[str, float]:
        """Tokens per CPU second: in cache, and, for as many rows as fit, with the window full in both ways."""
        self.decode(rows, PROMPT, 4)
        _, in_cache = self.decode(rows, PROMPT, 64)
        found = {"rows": rows, "in_cache": rows * 64 / in_cache}
        if rows <= MOST_FULL_ROWS:
            whole, _ = self.decode(rows, WINDOW, 0)
            half, later = self.decode(rows, WINDOW // 2, WINDOW // 2)
            found["full_window"] = rows / whole
            found["full_window_by_halves"] = rows * (WINDOW // 2) / (half + later)
        return found


def risks(ours: Ours, token_rate: float, patients: int, seconds: float) -> dict[str, float]:
    """CPU seconds of 20 outcomes x 6 horizons x 1,000 patients: asked in one pass, and by 20 futures each."""
    network, rows, size = ours.network, np.resize(ours.long, NUM_PATIENTS).astype(np.int64), len(ours.long)
    at = Moments(rows, np.random.default_rng(0).integers(86400, 10 * 86400, NUM_PATIENTS))
    hours = torch.tensor(HORIZONS_H, dtype=torch.float32)
    codes = torch.arange(1, 1 + NUM_OUTCOMES)

    @torch.inference_mode()
    def answer(h: Tensor, asked: Asked) -> Tensor:
        when = time_features(asked.gap, asked.time, asked.clock, asked.age)
        log_hazard = network.first_log_hazard(h, when, asked.past, codes)
        return -torch.expm1(-network.first_head.cumulative(log_hazard[:, :, :, None, :], hours))

    def all_asked() -> list[Asked]:
        # Each record once at a time, so that no two patients share a pass.
        parts = (Moments(at.row[i : i + size], at.seconds[i : i + size]) for i in range(0, NUM_PATIENTS, size))
        return [
            asked
            for part in parts
            for asked in ask(ours.reader, part, context=WINDOW, with_past=network.config.use_summary)
        ]

    one_pass, answers = cpu(lambda: [answer(states(network, asked), asked) for asked in all_asked()], seconds)
    num_answers = sum(risk.shape[0] * risk.shape[2] * risk.shape[3] for risk in answers)
    asked_once = all_asked()
    kept = [states(network, asked) for asked in asked_once]
    heads, _ = cpu(lambda: [answer(h, asked) for h, asked in zip(kept, asked_once, strict=True)], seconds)
    few = Moments(at.row[:patients], at.seconds[:patients])
    began, events = time.process_time(), 0
    for begun in starts(ours.reader, few, context=WINDOW, per_batch=patients):
        events += len(ours.sampler.sample(begun, horizon_s=HORIZONS_H[-1] * 3600, num_samples=NUM_FUTURES).events.code)
    sampling = (time.process_time() - began) * NUM_PATIENTS / patients
    by_tokens = events * TOKENS_PER_EVENT["ETHOS"] * NUM_PATIENTS / patients / token_rate
    return {
        "answers": num_answers, "one_pass_cpu_s": one_pass, "from_kept_states_cpu_s": heads,
        "patients_sampled": patients, "futures_of_each": NUM_FUTURES,
        "events_of_each_future": events / patients / NUM_FUTURES,
        "our_sampling_cpu_s_extrapolated": sampling, "token_sampling_cpu_s_extrapolated": by_tokens,
        "our_sampling_over_one_pass": sampling / one_pass, "token_sampling_over_one_pass": by_tokens / one_pass,
        "our_sampling_over_kept_states": sampling / heads,
    }  # fmt: skip


def main() -> None:
    """Measure, print and write `results/sampling_rate.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for the data and the run; used again if it is there")
    parser.add_argument("--seconds", type=float, default=4.0, help="CPU seconds of each repeated measurement")
    parser.add_argument("--patients", type=int, default=8, help="patients whose futures are sampled for the risks")
    given = parser.parse_args()
    torch.set_num_threads(1)
    ours, rival = Ours(*prepared(given.work)), Rival(synthetic_events.NUM_CODES)
    token = [rival.rates(rows) for rows in (8, 64, 256)]
    ours.rate(1, 64, PROMPT, 6)
    futures = [ours.rate(g, n, PROMPT, 24) for g, n in ((8, 1), (1, 64), (1, 256), (1, 1024), (16, 64))]
    full = [ours.rate(g, n, WINDOW, 24) for g, n in ((1, 256), (1, 1024), (16, 64))]
    rolled = ours.rolled(128, 24 * 18, 24 * 20)
    best = {
        name: max(row.get(name, 0.0) for row in token) for name in ("in_cache", "full_window", "full_window_by_halves")
    }
    # Eight rows is how MEDS-EIC-AR was measured; more rows at once serve GPT-2 better, so its best counts too.
    best["in_cache_8_rows"] = token[0]["in_cache"]
    ratios = {
        f"{state}, over {name}": max(row["events_per_s"] for row in found) / (best[kind] / per_event)
        for state, found, kind in (
            ("in cache", futures, "in_cache"),
            ("in cache, rival with 8 rows", futures, "in_cache_8_rows"),
            ("window full", full, "full_window"),
            ("window full, rival by halves", full, "full_window_by_halves"),
        )
        for name, per_event in TOKENS_PER_EVENT.items()
    }
    content: dict[str, Any] = {
        "weights": {"sojourn": _size(ours.network), "gpt": _size(rival.model)},
        "tokens_per_event": TOKENS_PER_EVENT,
        "token_model_tokens_per_s": token,
        "futures_in_cache": futures,
        "futures_with_full_window": full,
        "futures_that_fill_the_window_themselves": rolled,
        "ratio_of_events_per_s": ratios,
        "risks": risks(ours, best["in_cache"], given.patients, given.seconds),
    }
    print(keep("sampling_rate", content).read_text())


def _size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


if __name__ == "__main__":
    main()
