"""The event embedding phi(e): a code, its continuous value and what the value changed.

    phi(e) = A_c + G_c * (F f(z, z - z', t - t')),    z = asinh((x - loc_c) / scale_c)

with z' and t' of the code's previous record, f smooth bumps, and G_c a gate of the code's own. Where the words of the
codes are read,

    A_c = I_c + W x_c + a,    G_c = H_c + U x_c + 1,    x_c features of the words of c and of its parents

and training drops the identities I_c and H_c of some codes in each step, with half of the features of their words: as a
hospital would show them that has names of its own. A code that was never trained has no identity, and is its words.

Shape letters: E events, V codes, D width of phi, K instants, F features of words.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sojourn.model.config import CodeTable
from sojourn.model.features import bumps, delay_features
from sojourn.model.linear import Linear
from sojourn.model.places import places

_NUM_VALUE, _NUM_CHANGE, _NUM_DELAY = 17, 11, 8
NUM_PREVIOUS_FEATURES = _NUM_VALUE + 2 + _NUM_DELAY + 1
NUM_RECENT = 3
"""Events of an instant that the next decision sees one by one, beside the sum of all."""
_WORDS_LOST = 0.5
"""Share of the features of words that a code without its identity loses: other hospitals share words only in part."""
_FLOAT32_ERROR = 2.0**-22
"""Relative error within which a tick in float32 is taken for one over a whole number."""


class EventEmbedding(nn.Module):
    """Embeds events; also holds the exact maps between a code's own unit and the normalised scale."""

    loc: Tensor
    scale: Tensor
    tick: Tensor
    value_share: Tensor
    words: Tensor

    def __init__(self, codes: CodeTable, d_event: int, identity_dropout: float = 0.0) -> None:
        super().__init__()
        num_codes = len(codes.loc)
        self.register_buffer("loc", codes.loc.float())
        self.register_buffer("scale", codes.scale.float())
        self.register_buffer("tick", codes.tick.float())
        self.register_buffer("value_share", codes.value_share.float())
        self.code = nn.Embedding(num_codes, d_event)
        self.gate = nn.Embedding(num_codes, d_event)
        nn.init.normal_(self.code.weight, std=0.5)
        nn.init.ones_(self.gate.weight)
        self.feature = Linear(_NUM_VALUE + 2 + _NUM_CHANGE + 2 + _NUM_DELAY + 1, d_event)
        self.identity_dropout = identity_dropout
        self.say = None if codes.words is None else self._read_words(codes.words)

    def _read_words(self, words_VF: Tensor) -> nn.Linear:
        """The layer from words to embedding and gate; identities start from zero, as those of unseen codes stay."""
        self.register_buffer("words", words_VF.float())
        width = self.code.embedding_dim
        say = Linear(words_VF.shape[1], 2 * width)
        with torch.no_grad():
            self.code.weight.zero_()
            self.gate.weight.zero_()
            say.weight[:width].normal_(std=0.5)
            say.weight[width:].zero_()
            say.bias.copy_(torch.cat([torch.zeros(width), torch.ones(width)]))
        return say

    def codes(self) -> Tensor:
        """A of every code with its identity, shape (V, D): what is chosen from, or asked for."""
        return self.code.weight if self.say is None else self.code.weight + self._said(self.words)[0]

    def some_codes(self, code_C: Tensor) -> Tensor:
        """`codes` of some codes, shape (C, D)."""
        known = F.embedding(code_C, self.code.weight)
        return known if self.say is None else known + self._said(self.words[code_C])[0]

    def seen(self, code_E: Tensor) -> Tensor:
        """A of the codes of events, shape (E, D); in training some of them without their identities."""
        return F.embedding(code_E, self._tables()[0])

    def _tables(self) -> tuple[Tensor, Tensor]:
        """A and G of every code, (V, D) each; in training some of them without their identities."""
        embedding, gate = self.code.weight, self.gate.weight
        if self.say is None:
            return embedding, gate
        words = self.words
        if self.training and self.identity_dropout:
            is_known = torch.rand(len(words), 1, device=words.device) >= self.identity_dropout
            embedding, gate = embedding * is_known, gate * is_known
            words = torch.where(is_known, words, F.dropout(words, _WORDS_LOST))
        said, gate_said = self._said(words)
        return embedding + said, gate + gate_said

    def _said(self, words_NF: Tensor) -> tuple[Tensor, Tensor]:
        """What words say of A and of G, (N, D) each; in full precision, since codes differ by little."""
        assert self.say is not None
        with torch.autocast(words_NF.device.type, enabled=False):
            said: Tensor = self.say(words_NF)
        return said[:, : self.code.embedding_dim], said[:, self.code.embedding_dim :]

    def normalise(self, code_E: Tensor, value_E: Tensor) -> Tensor:
        """Values in their own unit to z, shape (E,) float32; NaN stays NaN."""
        return torch.asinh((value_E - self.loc[code_E]) / self.scale[code_E])

    def denormalise(self, code_E: Tensor, z_E: Tensor) -> Tensor:
        """The inverse of `normalise`, rounded to the code's recorded resolution."""
        value = self.loc[code_E] + self.scale[code_E] * torch.sinh(z_E)
        return on_grid((value / self.tick[code_E]).round(), self.tick[code_E])

    def cell(self, code_E: Tensor, value_E: Tensor) -> tuple[Tensor, Tensor]:
        """Ends, on the z scale, of the values that would have been recorded as `value`: half a tick to each side."""
        half = 0.5 * self.tick[code_E]
        return self.normalise(code_E, value_E - half), self.normalise(code_E, value_E + half)

    def previous_features(self, z_previous_E: Tensor, delay_E: Tensor) -> Tensor:
        """Features of a code's previous record, shape (E, NUM_PREVIOUS_FEATURES)."""
        return torch.cat([_value_features(z_previous_E), delay_features(delay_E, _NUM_DELAY)], -1)

    def forward(self, code_E: Tensor, value_E: Tensor, previous_E: Tensor, delay_E: Tensor) -> Tensor:
        """phi of each event, shape (E, D)."""
        z, z_previous = self.normalise(code_E, value_E), self.normalise(code_E, previous_E)
        change = z - z_previous
        features = torch.cat(
            [
                _value_features(z),
                bumps(change, -2.5, 2.5, _NUM_CHANGE),
                torch.nan_to_num(change).clamp(-8, 8)[:, None],
                torch.isnan(change)[:, None].float(),
                delay_features(delay_E, _NUM_DELAY),
            ],
            dim=-1,
        )
        embedding, gate = self._tables()
        phi: Tensor = F.embedding(code_E, embedding) + F.embedding(code_E, gate) * self.feature(features)
        return phi


def on_grid(number_E: Tensor, tick_E: Tensor) -> Tensor:
    """Values that are so many ticks, shape (E,) float32, as a source records them.

    A tick of 0.01 has no float32 of its own: 730 times the nearest one is less than the float32 nearest to 7.3, and
    lies on the other side of a threshold of 7.3.
    """
    number, tick = number_E.double(), tick_E.double()
    per_unit = (1 / tick).round().clamp_min(1.0)
    is_fraction = (per_unit * tick - 1).abs() < _FLOAT32_ERROR
    return torch.where(is_fraction, number / per_unit, number * tick).float()


def _value_features(z_E: Tensor) -> Tensor:
    """Bumps, the number itself, and whether there is one."""
    plain = torch.nan_to_num(z_E).clamp(-8, 8)[:, None]
    return torch.cat([bumps(z_E, -4.0, 4.0, _NUM_VALUE), plain, torch.isnan(z_E)[:, None].float()], -1)


def sum_by_instant(phi_ED: Tensor, position_E: Tensor, num_instants: int) -> Tensor:
    """Sum of phi over the events of each instant, shape (K, D); independent of their order up to rounding."""
    total = phi_ED.new_zeros(num_instants, phi_ED.shape[-1])
    return total.index_add(0, position_E, phi_ED)


class Earlier(NamedTuple):
    """What N decisions know of the earlier events of their instant: zero where there are none."""

    total: Tensor
    """(N, D) sum of their phi."""
    recent: Tensor
    """(N, R * D) phi of the last R of them, the very last first."""

    @classmethod
    def none(cls, num: int, like: Tensor) -> "Earlier":
        """Before the first event of an instant; `like` is a phi (..., D)."""
        width = like.shape[-1]
        return cls(like.new_zeros(num, width), like.new_zeros(num, NUM_RECENT * width))

    def then(self, phi_ND: Tensor) -> "Earlier":
        """After one further event each."""
        return Earlier(self.total + phi_ND, torch.cat([phi_ND, self.recent[:, : -phi_ND.shape[1]]], 1))


def earlier_events(phi_ED: Tensor, rank_E: Tensor, last_K: Tensor) -> Earlier:
    """What the decisions of E events know, then those of END behind the events `last_K`: N = E + K."""
    total, num_events = _sum_of_earlier(phi_ED, rank_E), len(phi_ED)
    # The event before each decision, and how many its instant has had by then.
    before = torch.cat([torch.arange(-1, num_events - 1, device=last_K.device), last_K])
    count = torch.cat([rank_E, rank_E[last_K] + 1])
    lag = torch.arange(NUM_RECENT, device=last_K.device)
    place = torch.where(lag < count[:, None], before[:, None] - lag, num_events)  # behind all events stands a zero
    padded = torch.cat([phi_ED, phi_ED.new_zeros(1, phi_ED.shape[1])])
    recent = padded.index_select(0, place.flatten()).view(len(place), -1)
    return Earlier(torch.cat([total, (total + phi_ED)[last_K]]), recent)


def _sum_of_earlier(phi_ED: Tensor, rank_E: Tensor) -> Tensor:
    """Sum of phi over the earlier events of the same instant, shape (E, D).

    A segmented scan by doubling: log2(events per instant) additions, and no difference of large sums that would
    lose digits (as a global cumulative sum would).
    """
    if not len(phi_ED):
        return phi_ED
    total, step, longest = phi_ED.clone(), 1, int(rank_E.max())
    while step <= longest:
        row = places(rank_E >= step)
        total.index_add_(0, row, total.index_select(0, row - step))
        step *= 2
    return total - phi_ED
