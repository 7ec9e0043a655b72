"""Bins of values and of time, as models of tokens use them, and the mass that our densities put into each.

A model of tokens tells a value by its quantile bin and the time to the next instant by an interval bin. Our densities
have their mass on a bin in closed form, so both kinds of model can be asked for the same thing.

Shape letters: E events, K instants, V codes, Q value bins.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sojourn.errors import ConfigError
from sojourn.model.logistic import LogisticMixture
from sojourn.training.records import Ints, RecordReader

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_MONTH = 30 * _DAY
INTERVAL_EDGES_S = (
    *(n * _MINUTE for n in (5, 15, 45, 75)),
    *(n * _HOUR for n in (2, 3, 5, 8, 12, 18, 24)),
    *(n * _DAY for n in (2, 4, 7, 12, 20, 30)),
    2 * _MONTH,
    6 * _MONTH,
)
"""Ends of the time intervals of ETHOS (Renc et al. 2024, npj Digital Medicine 7:256), a month being 30 days."""
_SUBJECTS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins of a language of tokens.

    Gaps: bin 0 is what lies below the first edge, bin i holds [edge i-1, edge i), and what lies beyond the last edge
    L counts how often L fits into it: with I edges, bin I - 1 + n holds [n L, (n + 1) L).
    """

    value_edges: Tensor
    """(V, Q - 1) float32, inner edges of each code's values in its own unit, ascending; +inf where a code has fewer."""
    interval_edges_s: tuple[float, ...] = INTERVAL_EDGES_S
    """Ends of the time intervals in seconds, ascending."""
    has_short_token: bool = False
    """Whether gap bin 0 has a token of its own; ETHOS tells such instants one after the other, as if they were one."""

    @property
    def num_value_bins(self) -> Tensor:
        """Bins of each code, shape (V,) int64: 1 for a code without edges."""
        return torch.isfinite(self.value_edges).sum(1) + 1

    def value_bin(self, code_E: Tensor, value_E: Tensor) -> Tensor:
        """Bin of each value, shape (E,) int64 from 0; values must not be NaN."""
        return (value_E[:, None] > self.value_edges[code_E]).sum(1)

    def value_bin_ends(self, code_E: Tensor, bin_E: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper end of bins in the code's own unit, (E,) each; the outermost are infinite."""
        edges = self.value_edges[code_E]
        outside = torch.full_like(edges[:, :1], torch.inf)
        lower, upper = torch.cat([-outside, edges], 1), torch.cat([edges, outside], 1)
        return lower.gather(1, bin_E[:, None])[:, 0], upper.gather(1, bin_E[:, None])[:, 0]

    def gap_bin(self, gap_K: Tensor) -> Tensor:
        """Bin of each gap in seconds, shape (K,) int64."""
        edges = torch.tensor(self.interval_edges_s, dtype=torch.float64, device=gap_K.device)
        inside = torch.searchsorted(edges, gap_K.double(), right=True)
        often = (gap_K.double() / edges[-1]).floor().long()
        return torch.where(inside < len(edges), inside, len(edges) - 1 + often)

    def gap_bin_ends(self, bin_K: Tensor) -> tuple[Tensor, Tensor]:
        """First second of gap bins, and first second after them, (K,) float64 each."""
        edges = torch.tensor((0.0, *self.interval_edges_s), dtype=torch.float64, device=bin_K.device)
        count, last = len(edges) - 1, float(edges[-1])

        def start(number_K: Tensor) -> Tensor:
            return torch.where(number_K <= count, edges[number_K.clamp(max=count)], (number_K - count + 1) * last)

        return start(bin_K), start(bin_K + 1)


def fit_bins(
    reader: RecordReader, rows: Ints, tick_V: Tensor, *, num_bins: int = 10, has_short_token: bool = False
) -> Bins:
    """Quantile bins of the values of each code.

    Edges lie half a tick above a recorded value, so that each value that a source can record lies well inside a bin.
    Quantiles that coincide are one edge: codes with few distinct values have fewer bins.

    Parameters
    ----------
    reader : reads the store in a run's terms.
    rows : training subjects; their values are held in memory.
    tick_V : (V,) recorded resolution of each code's values in its own unit, such as ``network.events.tick``.
    num_bins : bins per code, at least 2; 10 gives deciles.
    has_short_token : see `Bins`.

    Raises
    ------
    ConfigError
        If there are no rows or fewer than 2 bins.
    """
    if not len(rows) or num_bins < 2:
        msg = f"fit_bins needs rows and at least 2 bins; got {len(rows)} rows and {num_bins=}. Pass training subjects."
        raise ConfigError(msg)
    codes, values = [], []
    for begin in range(0, len(rows), _SUBJECTS_AT_ONCE):
        records = reader.read(rows[begin : begin + _SUBJECTS_AT_ONCE])
        for events in (records.events, records.static):
            has_value = ~np.isnan(events.value)
            codes.append(events.code[has_value])
            values.append(events.value[has_value])
    code, value = np.concatenate(codes), np.concatenate(values)
    order = np.lexsort((value, code))
    code, value = code[order], value[order]
    starts = np.searchsorted(code, np.arange(reader.num_codes + 1))
    edges = np.full((reader.num_codes, num_bins - 1), np.inf, dtype=np.float32)
    for index in np.unique(code):
        mine = value[starts[index] : starts[index + 1]]
        place = np.ceil(np.arange(1, num_bins) / num_bins * len(mine)).astype(np.int64) - 1
        found = np.unique(mine[np.maximum(place, 0)])
        found = found[found < mine[-1]]  # nothing lies above the largest
        edges[index, : len(found)] = found + 0.5 * float(tick_V[index])
    return Bins(torch.from_numpy(edges), has_short_token=has_short_token)


def gap_bin_log_mass(density: LogisticMixture, ends_K: tuple[Tensor, Tensor], tick_K: Tensor) -> Tensor:
    """Log-probability in nats that a gap lies in [first, past), shape (K,); -inf where no tick lies in it.

    Parameters
    ----------
    density : of the logarithm of the gap in seconds.
    ends_K : the first second of each bin and the first second after it, (K,) each.
    tick_K : (K,) seconds between two times that the source can tell apart; a gap is 1, 2, ... of them.
    """
    tick = tick_K.double()
    first, past = (torch.ceil(end.double() / tick).clamp_min(1.0) for end in ends_K)
    is_empty = past <= first
    past = torch.where(is_empty, first + 1, past)
    lower, upper = (torch.log((number - 0.5) * tick).to(density.mean.dtype) for number in (first, past))
    smallest = torch.log(0.5 * tick).to(density.mean.dtype)
    mass = density.log_mass(lower, upper) - density.log_survival(smallest)
    return mass.masked_fill(is_empty, -torch.inf)
