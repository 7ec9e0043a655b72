"""How well the densities fit: probability integral transforms of values and gaps on held-out subjects.

If the model is right, F(x) is uniform; for recorded cells, F(lower) + u (F(upper) - F(lower)) with u uniform is
(Czado, Gneiting and Held 2009).
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sojourn.events.store import EventStore
from sojourn.model import Batch, Network
from sojourn.model.embedding import earlier_events
from sojourn.model.features import time_features
from sojourn.training.batches import collate, pack, whole_records
from sojourn.training.records import Ints
from sojourn.training.run import Run

_NUM_BINS, _MAX_CODES, _MIN_VALUES = 20, 24, 200


def density_fits(run: Run, store: EventStore, rows: Ints) -> dict[str, Any]:
    """Histograms of the transforms for subjects that were not trained on, 20 bins each: what ``fits.json`` holds."""
    reader, network = run.reader(store), run.network()
    generator = torch.Generator().manual_seed(0)
    codes, values, gaps = [], [], []
    for start in range(0, len(rows), 32):
        records = reader.read(rows[start : start + 32])
        windows = whole_records(records, run.config.context)
        batch = collate(records, windows, pack(windows), with_survival=False)
        code, value, gap = transforms(network, batch, generator)
        codes.append(code)
        values.append(value)
        gaps.append(gap)
    code, value, gap = (np.concatenate(parts) if parts else np.empty(0) for parts in (codes, values, gaps))
    table = run.vocabulary.table
    count = np.bincount(code.astype(np.int64), minlength=len(table))
    frequent = [int(c) for c in np.argsort(-count, kind="stable")[:_MAX_CODES] if count[c] >= _MIN_VALUES]
    return {
        "value": [
            {
                "code": table["code"][c],
                "description": table["description"][c],
                "unit": table["unit"][c],
                "n": int(count[c]),
                "pit": _histogram(value[code == c]),
            }
            for c in frequent
        ],
        "gap": {"n": len(gap), "pit": _histogram(gap)},
    }


@torch.inference_mode()
def transforms(network: Network, batch: Batch, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes and transforms of all scored values, and transforms of all scored gaps."""
    batch = batch.to(network.device)
    phi = network.phi(batch)
    h = network.states_of(batch, phi)
    before = torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], 1).flatten(0, 1)
    scored = batch.is_predicted.flatten()[batch.event_position]
    position = batch.event_position[scored]
    time = time_features(*(x.flatten()[position] for x in (batch.gap, batch.time, batch.clock, batch.age)))
    context = network.context(before[position], batch.site.flatten()[position], time)
    u = network.decision(context.u, earlier_events(phi[scored], batch.event_rank[scored], position[:0]))
    has_value = ~torch.isnan(batch.value[scored])
    code, value = batch.code[scored][has_value], batch.value[scored][has_value]
    previous = batch.previous_value[scored][has_value], batch.previous_delay[scored][has_value]
    density = network.value_density(u[has_value], code, *previous)
    lower, upper = (density.cdf(end) for end in network.events.cell(code, value))
    value_pit = lower + _uniform(lower, generator) * (upper - lower)
    asked = batch.is_gap_predicted.flatten()
    gap, tick = batch.gap.flatten()[asked], batch.tick.flatten()[asked]
    clock = (batch.clock.flatten()[asked] - gap).remainder(86400.0)
    gap_density = network.gap_head(before[asked], network.site(batch.site.flatten()[asked]), clock)
    number = (gap / tick).round().clamp_min(1.0)
    least = gap_density.log_survival(torch.log(0.5 * tick)).exp()
    ends = [1 - gap_density.log_survival(torch.log((number + s) * tick)).exp() / least for s in (-0.5, 0.5)]
    gap_pit = ends[0] + _uniform(gap, generator) * (ends[1] - ends[0])
    return code.cpu().numpy(), value_pit.cpu().numpy(), gap_pit.cpu().numpy()


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform numbers from a generator on the CPU, on the device of `like`."""
    return torch.rand(len(like), generator=generator).to(like.device)


def _histogram(pit: np.ndarray) -> list[float]:
    counts, _ = np.histogram(np.clip(pit, 0, 1), bins=_NUM_BINS, range=(0, 1))
    shares: list[float] = (counts / max(counts.sum(), 1)).tolist()
    return shares
