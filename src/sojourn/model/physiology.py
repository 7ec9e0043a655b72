"""The physiology: what a measurement shows. Shared by all sites.

The value density is a mixture of logistics on the normalised scale; half of its components are anchored at the
code's previous value. The map back to the code's own unit is exact, so a recorded value x has the probability
F(x + tick/2) - F(x - tick/2), and the density in its own unit is that mass divided by the tick.

Shape letters: E events, D width, M components.
"""

import torch
from torch import Tensor, nn

from sojourn.model.config import ModelConfig
from sojourn.model.embedding import NUM_PREVIOUS_FEATURES
from sojourn.model.linear import Linear, Sequential
from sojourn.model.logistic import LogisticMixture, logistic_mixture


class ValueHead(nn.Module):
    """Density of the normalised value z of an event, given its code and all that came before."""

    def __init__(self, config: ModelConfig, num_extra: int = 0) -> None:
        super().__init__()
        self.num_components = config.num_value_components
        width = config.d_decoder
        self.context = Linear(width + num_extra, width)
        self.code = Linear(config.d_event, width)
        self.previous = Linear(NUM_PREVIOUS_FEATURES, width)
        self.mlp = Sequential(nn.GELU(), Linear(width, width), nn.GELU())
        self.out = Linear(width, 3 * self.num_components)
        nn.init.normal_(self.out.weight, std=0.01)
        with torch.no_grad():
            self.out.bias.zero_()
            half = self.num_components // 2
            start = torch.linspace(-1.5, 1.5, half)
            self.out.bias[self.num_components : 2 * self.num_components] = torch.cat([start, start / 5])
            self.out.bias[2 * self.num_components :] = torch.cat([torch.zeros(half), torch.full((half,), -1.5)])

    def forward(
        self, u_ED: Tensor, code_ED: Tensor, previous_features_EF: Tensor, z_previous_E: Tensor
    ) -> LogisticMixture:
        """Mixture on the z scale; components of the second half are anchored at `z_previous` where there is one."""
        hidden = self.context(u_ED) + self.code(code_ED) + self.previous(previous_features_EF)
        hidden = self.mlp(hidden).float()
        with torch.autocast(u_ED.device.type, enabled=False):
            logit, mean, raw_scale = self.out(hidden).chunk(3, -1)
        anchor = torch.nan_to_num(z_previous_E)[:, None]
        half = self.num_components // 2
        mean = torch.cat([mean[:, :half], mean[:, half:] + anchor], -1)
        return logistic_mixture(logit, mean, raw_scale, smallest=1e-3)
