"""The sum of the earlier events of an instant alone, without the last ones one by one."""

from typing import Any

from torch import Tensor, nn

from sojourn.model import Network


class SumAlone(Network):
    """The network whose decisions know the last event by its code alone."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.decode_recent = _Nothing()


class _Nothing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(())
