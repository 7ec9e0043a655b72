"""Puts a variant in the network's place while a run is trained or opened, and tells the CPU time of its steps."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

import sojourn.training.pretrain
import sojourn.training.run  # noqa: F401  (all users of the network must be loaded before it is replaced)
from sojourn.model import Batch, EventLogProb, Network
from sojourn.training.fits import density_fits

_WARM_UP, _AHEAD = 3, 4


class StepClock:
    """CPU time of the training steps of one run, without its evaluations.

    The time of all threads counts, so that of the one that makes the samples is in it. It works ahead by `_AHEAD`
    steps: the last steps of a run are left out of the mean, as the first ones are.
    """

    def __init__(self) -> None:
        self.num_networks = 0
        self._ticks: list[float] = []
        self._paused = 0.0
        self._since: float | None = None

    def tick(self) -> None:
        """A step begins."""
        self._ticks.append(time.process_time() - self._paused)

    def switch(self, *, is_training: bool) -> None:
        """The network goes to training or to evaluation mode."""
        now = time.process_time()
        if self._since is not None:
            self._paused += now - self._since
        self._since = None if is_training else now

    @property
    def num_steps(self) -> int:
        """Steps that were made."""
        return len(self._ticks)

    @property
    def step_s(self) -> float:
        """Mean CPU seconds of a step."""
        inner = self._ticks[_WARM_UP : -_AHEAD or None]
        if len(inner) < 2:
            msg = f"the clock needs more than {_WARM_UP + _AHEAD + 1} steps; got {self.num_steps}."
            raise RuntimeError(msg)
        return (inner[-1] - inner[0]) / (len(inner) - 1)

    @property
    def total_s(self) -> float:
        """CPU seconds of all steps; the last one counts as the mean."""
        return (self._ticks[-1] - self._ticks[0]) * self.num_steps / (self.num_steps - 1)


@contextmanager
def in_place(variant: type[Network], clock: StepClock | None = None) -> Iterator[None]:
    """While the block runs, whoever in the package makes a `Network` makes a `variant`.

    Modules import names, and where they do may change; so every loaded module of the package is looked through. The
    histograms of the run folder's ``fits.json`` read the decoder's inside and are left out.

    Raises
    ------
    RuntimeError
        If nothing in the block made a network: then the package holds it somewhere else.
    """
    clock = clock or StepClock()
    timed = _timed(variant, clock)

    def no_fits(*_: Any) -> dict[str, Any]:
        return {"value": [], "gap": {"n": 0, "pit": []}}

    _swap(Network, timed)
    _swap(density_fits, no_fits)
    try:
        yield
    finally:
        _swap(timed, Network)
        _swap(no_fits, density_fits)
    if not clock.num_networks:
        msg = f"{variant.__name__} was not used: the package makes its network in a place that was not found."
        raise RuntimeError(msg)


def _timed(variant: type[Network], clock: StepClock) -> type[Network]:
    class Timed(variant):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, **settings: Any) -> None:
            clock.num_networks += 1
            super().__init__(*args, **settings)

        def train(self, mode: bool = True) -> Network:
            clock.switch(is_training=mode)
            network: Network = super().train(mode)
            return network

        def log_prob_from(self, batch: Batch, phi_ED: Tensor, h_BLD: Tensor) -> EventLogProb:
            if self.training:
                clock.tick()
            found: EventLogProb = super().log_prob_from(batch, phi_ED, h_BLD)
            return found

    return Timed


def _swap(old: object, new: object) -> None:
    for name, module in list(sys.modules.items()):
        if name.split(".", 1)[0] == "sojourn":
            for attribute, held in list(vars(module).items()):
                if held is old:
                    setattr(module, attribute, new)
