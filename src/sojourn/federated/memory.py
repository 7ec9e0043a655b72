"""What a site keeps between rounds and never sends: personal weights, optimiser moments, control variates."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from sojourn.errors import FederationError
from sojourn.federated.local import LocalTrainer
from sojourn.federated.messages import Message, Tensors, pack, unpack
from sojourn.files import atomic_file

_JOB, _STATE = "job.safetensors", "state-{}.safetensors"
_PARTS = ("personal", "moments", "control")


class SiteState(NamedTuple):
    """A site's state at the beginning of a round."""

    round: int = -1
    """Last round that it knows."""
    num_made: int = 0
    """Steps that the site has made."""
    personal: Tensors = {}  # noqa: RUF012  (never changed in place)
    moments: Tensors = {}  # noqa: RUF012
    control: Tensors = {}  # noqa: RUF012


class SiteMemory:
    """Keeps the job and the states after the last two rounds, so that a round can be made again.

    Parameters
    ----------
    folder : where to keep them; None keeps them in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._job: Message | None = None
        self._states: dict[int, SiteState] = {}

    def keep_job(self, message: Message) -> None:
        """Keep what starts a training; a new one forgets the states of an older one."""
        before = self.job()
        is_same = before is not None and pack(before) == pack(message)
        self._job = message
        if self.folder is not None:
            with atomic_file(self.folder / _JOB) as part:
                part.write_bytes(pack(message))
        if not is_same:
            self._states = {}
            for path in [] if self.folder is None else self.folder.glob(_STATE.format("*")):
                path.unlink()

    def job(self) -> Message | None:
        """What started the training; None before."""
        if self._job is None and self.folder is not None and (self.folder / _JOB).exists():
            self._job = unpack((self.folder / _JOB).read_bytes())
        return self._job

    def before(self, round_: int) -> SiteState:
        """State at the beginning of a round: that of the latest earlier round that the site took part in."""
        known = [number for number in self._rounds() if number < round_]
        if not known:
            return SiteState()
        return self._states.get(max(known)) or self._read(max(known))

    def keep(
        self, round_: int, trainer: LocalTrainer, personal: Tensors, control: Tensors, *, with_moments: bool
    ) -> None:
        """Keep the state after a round, and that of the round before it."""
        moments = {name: np.array(moment) for name, moment in trainer.moments().items()} if with_moments else {}
        state = SiteState(round_, trainer.num_made, personal, moments, control)
        if self.folder is not None:
            self._write(state)
        else:
            self._states[round_] = state
        # States of later rounds belong to a course that was given up.
        kept = {*sorted(number for number in self._rounds() if number <= round_)[-2:]}
        for number in set(self._rounds()) - kept:
            self._states.pop(number, None)
            if self.folder is not None:
                (self.folder / _STATE.format(number)).unlink(missing_ok=True)

    def _rounds(self) -> list[int]:
        """Rounds after which there is a state."""
        if self.folder is None:
            return sorted(self._states)
        return sorted(int(path.stem.split("-")[1]) for path in self.folder.glob(_STATE.format("*")))

    def _write(self, state: SiteState) -> None:
        assert self.folder is not None, "there is a place to write to"
        tensors = {f"{part}/{n}": np.ascontiguousarray(t) for part in _PARTS for n, t in getattr(state, part).items()}
        said = {"state": json.dumps({"round": state.round, "num_made": state.num_made})}
        with atomic_file(self.folder / _STATE.format(state.round)) as path:
            safetensors.numpy.save_file(tensors, str(path), said)

    def _read(self, round_: int) -> SiteState:
        assert self.folder is not None, "there is a place to read from"
        path = self.folder / _STATE.format(round_)
        try:
            tensors = safetensors.numpy.load_file(str(path))
            with safetensors.safe_open(str(path), "np") as file:
                said: dict[str, Any] = json.loads(file.metadata()["state"])
        except (OSError, safetensors.SafetensorError, KeyError, ValueError) as error:
            msg = f"{path} must hold the site's state; it is damaged. Remove it: the round is made again without it."
            raise FederationError(msg) from error
        parts: dict[str, Tensors] = {part: {} for part in _PARTS}
        for full, tensor in tensors.items():
            part, name = full.split("/", 1)
            parts[part][name] = tensor
        return SiteState(said["round"], said["num_made"], **parts)
