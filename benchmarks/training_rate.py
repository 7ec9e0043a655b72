"""How fast a network is trained, and how much of the processor's arithmetic that takes, beside a GPT-2 on tokens.

    pip install -e '.[bench]'
    python benchmarks/training_rate.py STORE... [--steps 8] [--rounds 3]

One thread of one process. For each store: our network in both sizes of `real_data.py`, the wider with 3.2 million
weights on MIMIC-IV, with 2,048 instants a step, which is the default, and with 1,024, as in `real_data.py`; and the
GPT-2 of `transformers` with 3.4 million on the ETHOS tokens of the same records (see `token_gpt`), with 4 windows of
512 tokens a step, as in `token_rival.py`, and with 16. Ours is compared with the faster GPT-2. All take turns in
rounds, with a product of two 2048 x 2048 matrices between them, so that a busy machine is equally unkind to each. A
step is what training makes of it: ours with its sampler, questions, clipping, AdamW and moving average; theirs with
its windows, clipping and AdamW.

Events per second are per second of the process's CPU time, all its threads together. Utilisation is the rate of the
products that the network defines (`torch.utils.flop_counter`; what the code head may make again in its backward pass
is not counted) over that of the matrix product, both in bfloat16 and in the same run. Attention is counted in
full, though half of it is masked, and so are the rows of zeros that fill up our products, a sixteenth at most.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

import torch
from common import keep
from token_gpt import gpt
from token_gpt.language import Language
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from sojourn.events.store import EventStore
from sojourn.inference.bins import fit_bins
from sojourn.model import chosen
from sojourn.training.config import read_config
from sojourn.training.selection import Selection
from sojourn.training.trainer import Trainer

SMALL = {"d_model": 96, "num_layers": 3, "d_event": 48, "d_decoder": 96, "dropout": 0.15}
WIDE = SMALL | {"d_event": 96, "d_decoder": 192}
_BASE: dict[str, Any] = {"learning_rate": 3e-3, "epochs": 1000}
_BATCHES, _WINDOWS = (2048, 1024), (4, 16)
"""Instants of ours, and windows of the rival, in a step."""
_MATRIX = 2048
_COUNTED = 2
_WARM_UP = 24
"""Steps of each model before it is timed: the shapes of packed batches, for each of which a kernel is made, have mostly
been seen by then."""
_SUBJECTS = 400
"""Subjects whose stories are told: a step costs the same however many there are."""

_CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda grad, q, k, v, *_, **__: (
        sdpa_backward_flop_count(grad, q, k, v)
    ),
}


class Contestant(Protocol):
    """Something that is trained step by step."""

    def step(self) -> int:
        """Make one step; the number of events that it learnt from."""

    @property
    def num_weights(self) -> int:
        """Trained weights."""


class Ours:
    """The steps of `pretrain`, without evaluations and files."""

    def __init__(self, store: Path, model: dict[str, Any], instants: int) -> None:
        config = read_config(_BASE | {"model": model, "instants_per_batch": instants})
        self._trainer = Trainer(Selection(EventStore.open(store), config), Path(tempfile.mkdtemp()))
        self._steps = self._trainer.steps()

    def step(self) -> int:
        """One step of training."""
        return next(self._steps)[1].counts.events

    @property
    def num_weights(self) -> int:
        """Trained weights."""
        return self._trainer.num_parameters


class Tokens:
    """GPT-2 on the tokens of the same training subjects."""

    def __init__(self, store: Path, windows: int) -> None:
        selection = Selection(EventStore.open(store), read_config(_BASE))
        rows = selection.train_rows
        tick = torch.from_numpy(selection.vocabulary.table["resolution"].to_numpy().copy())
        bins = fit_bins(selection.reader, rows, tick)
        self._language = Language(len(selection.vocabulary), bins)
        stories = list(self._language.tell(selection.reader, rows[:_SUBJECTS]))
        settings = gpt.Settings(learning_rate=1e-3, windows_per_step=windows)
        self._model = gpt.make(len(self._language), settings)
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=1e-3, betas=(0.9, 0.98), fused=True)
        self._windows = gpt.batches(lambda _: stories, settings)
        self.tokens_per_event = sum(len(s.token) for s in stories) / sum(
            int((s.token < self._language.first_value).sum()) for s in stories
        )

    def step(self) -> int:
        """One step of training."""
        inputs, targets = next(self._windows)
        gpt._step(self._model, self._optimizer, inputs, targets, 1e-3)
        return int(((targets >= 0) & (targets < self._language.first_value)).sum())

    @property
    def num_weights(self) -> int:
        """Trained weights, the input embeddings being the output's."""
        return int(self._model.num_parameters())


class Meter:
    """Events, CPU time and products of one contestant, over several turns."""

    def __init__(self, name: str, contestant: Contestant) -> None:
        self.name, self.contestant = name, contestant
        for _ in range(_WARM_UP):
            contestant.step()
        self._flops_per_event = _flops_per_event(contestant)
        self._events, self._cpu_s = 0, 0.0

    def turn(self, num_steps: int) -> None:
        """Make some steps."""
        began = time.process_time()
        self._events += sum(self.contestant.step() for _ in range(num_steps))
        self._cpu_s += time.process_time() - began

    def figures(self, peak: float) -> dict[str, Any]:
        """What came of it; `peak` is the matrix product's rate in FLOP/s."""
        rate = self._events / self._cpu_s
        return {
            "model": self.name,
            "num_weights": self.contestant.num_weights,
            "events": self._events,
            "cpu_s": round(self._cpu_s, 2),
            "events_per_cpu_s": round(rate),
            "mflop_per_event": round(self._flops_per_event / 1e6, 3),
            "gflop_per_cpu_s": round(rate * self._flops_per_event / 1e9, 1),
            "utilisation": round(rate * self._flops_per_event / peak, 4),
        }


def _flops_per_event(contestant: Contestant) -> float:
    """Floating-point operations of the network's products, forwards and backwards."""
    most_kept, chosen._MOST_KEPT = chosen._MOST_KEPT, 2**62
    try:
        with FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION) as counter:
            num_events = sum(contestant.step() for _ in range(_COUNTED))
    finally:
        chosen._MOST_KEPT = most_kept
    return float(counter.get_total_flops() / num_events)


def peak_rate() -> float:
    """FLOP/s of one product of two large matrices in bfloat16."""
    a, b = (torch.randn(_MATRIX, _MATRIX, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(3):
        began = time.process_time()
        a @ b
        times.append(time.process_time() - began)
    return 2 * _MATRIX**3 / min(times)


def compare(store: Path, num_steps: int, num_rounds: int) -> dict[str, Any]:
    """All contestants on one store."""
    sizes = {"small": SMALL, "wide": WIDE}
    meters = [
        Meter(f"sojourn, {name}, {instants:,} instants a step", Ours(store, model, instants))
        for name, model in sizes.items()
        for instants in _BATCHES
    ]
    rivals = {windows: Tokens(store, windows) for windows in _WINDOWS}
    meters += [Meter(f"GPT-2, {windows} windows a step", tokens) for windows, tokens in rivals.items()]
    peaks = [peak_rate()]
    for _ in range(num_rounds):
        for meter in meters:
            meter.turn(num_steps)
            peaks.append(peak_rate())
    peak = max(peaks)
    lines = [meter.figures(peak) for meter in meters]
    best = max(line["events_per_cpu_s"] for line in lines[-len(rivals) :])
    for line in lines:
        line["times_the_gpt"] = round(line["events_per_cpu_s"] / best, 2)
        print(line)
    return {
        "tokens_per_event": round(rivals[_WINDOWS[0]].tokens_per_event, 2),
        "peak_gflop_per_cpu_s": round(peak / 1e9, 1),
        "lowest_peak_gflop_per_cpu_s": round(min(peaks) / 1e9, 1),
        "models": lines,
    }


def main() -> None:
    """Measure on every store and write `results/training_rate.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", nargs="+", type=Path)
    parser.add_argument("--steps", type=int, default=8, help="of each model in a round")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    content = {store.resolve().parent.name: compare(store, given.steps, given.rounds) for store in given.store}
    print(keep("training_rate", {"threads": 1, "precision": "bf16-mixed", "stores": content}))


if __name__ == "__main__":
    main()
