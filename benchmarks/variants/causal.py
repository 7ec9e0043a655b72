"""A small recurrent decoder inside the instant, in place of the sum of its earlier events.

It reads the events of an instant in canonical order, starting from the instant's context, so that it knows their order
and how they go together; the sum knows which there are.

Shape letters: N scored events, K scored instants, M events of the largest instant, W width of phi and of the decoder.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sojourn.model import Batch
from sojourn.model.config import ModelConfig
from sojourn.model.embedding import Earlier, earlier_events
from variants.decoding import OtherDecoder, Scored, times


class CausalDecoder(OtherDecoder):
    """The network with a gated recurrent unit (Cho et al. 2014) inside the instant."""

    def __init__(self, config: ModelConfig, *args: Any, **settings: Any) -> None:
        super().__init__(config, *args, **settings)
        self.first = nn.Linear(config.d_decoder, config.d_event)
        self.unit = nn.GRU(config.d_event, config.d_event, batch_first=True)

    def decision_states(self, batch: Batch, found: Scored, phi_ND: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        site = batch.site.flatten()[found.instant]
        context = self.context(before.flatten(0, 1)[found.instant], site, times(batch, found.instant))
        with torch.autocast(phi_ND.device.type, enabled=False):
            read = self._read(phi_ND, torch.tanh(self.first(context.u.float())), found)
        instant = torch.arange(len(found.last), device=read.device)
        so_far = torch.cat([read[found.inverse, found.rank], read[instant, found.rank[found.last] + 1]])
        recent = earlier_events(phi_ND, found.rank, found.last).recent
        u = self.decision(torch.cat([context.u[found.inverse], context.u]), Earlier(so_far, recent))
        return u[: len(found.rank)], u[len(found.rank) :]

    def _read(self, phi_NW: Tensor, first_KW: Tensor, found: Scored) -> Tensor:
        """States after 0, 1, ..., M events of each instant, (K, M + 1, W); undefined after its last."""
        count = found.rank[found.last] + 1
        padded = phi_NW.new_zeros(len(count), int(count.max()), phi_NW.shape[1])
        padded = padded.index_put((found.inverse, found.rank), phi_NW)
        packed = pack_padded_sequence(padded, count.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.unit(packed, first_KW[None])[0], batch_first=True)
        return torch.cat([first_KW[:, None], states], 1)
