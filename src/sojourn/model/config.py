"""What shapes the network: its sizes and switches, and what it must know of the codes."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from sojourn.errors import ConfigError

# Log-spaced edges of the hazard bins in hours. Common clinical horizons (6, 12, 24, 48 h, 1 week) are edges, so that
# the risks that are asked most often need no interpolation inside a bin.
HAZARD_EDGES_HOURS = (
    1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 36.0, 48.0, 72.0, 96.0, 168.0, 336.0, 720.0, 2160.0, 8760.0,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Sizes and switches of the network.

    Raises
    ------
    ConfigError
        If two settings contradict each other.
    """

    d_model: int = 128
    """Width of the backbone."""
    d_event: int = 96
    """Width of an event's embedding phi."""
    d_decoder: int = 192
    """Width of the part that decodes an instant."""
    num_layers: int = 4
    num_heads: int = 4
    """Attention heads; half of them rotate with continuous time, half with the order of instants."""
    dropout: float = 0.1
    num_gap_components: int = 6
    """Free log-logistic components of the gap density."""
    num_clock_components: int = 6
    """Components of the gap density anchored at the next full hours."""
    use_round_gaps: bool = True
    """Whether the gap density has components at round numbers of minutes."""
    num_value_components: int = 6
    """Logistic components of the value density; half of them are anchored at the code's previous value."""
    num_bootstrap_heads: int = 4
    """Hazard heads, each trained on its own bootstrap sample of the subjects; their spread gives the interval."""
    d_site: int = 16
    """Width of the site vector."""
    site_rank: int = 8
    """Rank of the site adapters on the policy heads."""
    use_site: bool = True
    """Whether gap and code heads see the site vector."""
    use_recency: bool = True
    """Whether the code head sees when each code last came, and at which rhythm."""
    use_panel: bool = True
    """Whether the code head sees which codes came along with the last one the last time."""
    use_summary: bool = True
    """Whether questions for first events see statistics of every code's past, beside the state."""
    num_word_features: int = 0
    """Features of a code's words that its embedding reads; 0: each code is known by its identity alone."""
    identity_dropout: float = 0.15
    """Share of the codes that a training step knows by their words alone; only where words are read."""
    use_continuous_rotary: bool = True
    """Whether half of the heads rotate with continuous time; otherwise all rotate with the order."""
    hazard_edges_hours: tuple[float, ...] = HAZARD_EDGES_HOURS

    def __post_init__(self) -> None:
        if self.d_model % (2 * self.num_heads):
            msg = f"d_model must be a multiple of 2 * num_heads; got {self.d_model} and {self.num_heads} heads."
            raise ConfigError(msg)
        if self.num_heads % 2:
            msg = f"num_heads must be even, half for time and half for order; got {self.num_heads}."
            raise ConfigError(msg)
        if self.num_value_components % 2:
            msg = f"num_value_components must be even, half of them anchored; got {self.num_value_components}."
            raise ConfigError(msg)
        if self.num_word_features < 0 or not 0 <= self.identity_dropout < 1:
            got = f"{self.num_word_features} and {self.identity_dropout}"
            msg = f"num_word_features must be 0 or more, and identity_dropout in [0, 1); got {got}."
            raise ConfigError(msg)
        edges = self.hazard_edges_hours
        if not edges or any(b <= a for a, b in zip((0.0, *edges), edges, strict=False)):
            msg = f"hazard_edges_hours must be positive and increase; got {edges}."
            raise ConfigError(msg)

    @property
    def d_known(self) -> int:
        """Width of what is known at a question: the state, and the summary of the past where it is used."""
        return self.d_model * (2 if self.use_summary else 1)


class CodeTable(NamedTuple):
    """What the network must know of each of the V codes."""

    loc: Tensor
    """(V,) float32, centre of the code's values in its own unit."""
    scale: Tensor
    """(V,) float32 > 0, robust spread of the code's values in its own unit."""
    tick: Tensor
    """(V,) float32 > 0, recorded resolution of the code's values in its own unit."""
    can_emit: Tensor
    """(V,) bool, whether the code can occur in a history (neither target-only nor static)."""
    value_share: Tensor
    """(V,) float32 in (0, 1), share of the code's events that carry a value."""
    log_hazard: Tensor
    """(V, J) float32, log-hazards per hour of the code's first event on the bins, where learning starts from."""
    words: Tensor | None = None
    """(V, F) float32, features of the code's words; None where the network does not read them."""
