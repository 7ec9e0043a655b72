"""What a site keeps between rounds and never sends: personal weights and optimiser moments.

The states after the last two rounds are kept, so that a round can be made again, and the one beside the best weights.

Each training has a folder of its own, named by what started it: a later training leaves the weights of an earlier one.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from sojourn.errors import FederationError
from sojourn.federated.local import LocalTrainer
from sojourn.federated.messages import Message, Tensors, pack, unpack
from sojourn.files import atomic_file, read_json, write_json

_JOB, _STATE = "job.safetensors", "state-{}.safetensors"
_LAST = "job.json"
_PARTS = ("personal", "moments")


class SiteState(NamedTuple):
    """A site's state at the beginning of a round."""

    round: int = -1
    """Last round that it knows."""
    num_made: int = 0
    """Steps that the site has made."""
    personal: Tensors = {}  # noqa: RUF012  (never changed in place)
    moments: Tensors = {}  # noqa: RUF012


class SiteMemory:
    """Keeps the job, the states after the last two rounds, and the one after the round that was the best.

    Parameters
    ----------
    folder : where to keep them; None keeps them in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._job: Message | None = None
        self._states: dict[int, SiteState] = {}
        self._name = ""
        if folder is not None and (folder / _LAST).exists():
            self._name = str(read_json(folder / _LAST)["job"])

    def keep_job(self, message: Message) -> None:
        """Keep what starts a training, and go on in its folder; without a folder an older training is forgotten."""
        content = pack(message)
        name = hashlib.sha256(content).hexdigest()[:16]
        if self.folder is None:
            if name != self._name:
                self._states = {}
        else:
            with atomic_file(self.folder / name / _JOB) as part:
                part.write_bytes(content)
            write_json(self.folder / _LAST, {"job": name})
        self._job, self._name = message, name

    def job(self) -> Message | None:
        """What started the training; None before."""
        if self._job is None and self._place is not None and (self._place / _JOB).exists():
            self._job = unpack((self._place / _JOB).read_bytes())
        return self._job

    def earlier(self) -> "Iterator[SiteMemory]":
        """The memory of each training that was started here, the last one first."""
        names = [] if self.folder is None else [path.parent.name for path in self.folder.glob(f"*/{_JOB}")]
        for name in sorted(names, key=lambda name: (name != self._name, name)):
            one = SiteMemory(self.folder)
            one._name = name
            yield one

    @property
    def _place(self) -> Path | None:
        """Folder of the training."""
        return self.folder / self._name if self.folder is not None and self._name else None

    def before(self, round_: int) -> SiteState:
        """State at the beginning of a round: that of the latest earlier round that the site took part in."""
        known = [number for number in self._rounds() if number < round_]
        if not known:
            return SiteState()
        return self._states.get(max(known)) or self._read(max(known))

    def keep(
        self,
        round_: int,
        trainer: LocalTrainer,
        personal: Tensors,
        *,
        with_moments: bool,
        best_round: int = 0,
    ) -> None:
        """Keep the state after a round, that of the round before it, and that after `best_round` rounds."""
        moments = {name: np.array(moment) for name, moment in trainer.moments().items()} if with_moments else {}
        state = SiteState(round_, trainer.num_made, personal, moments)
        if self._place is not None:
            self._write(state)
        else:
            self._states[round_] = state
        # States of later rounds belong to a course that was given up.
        known = sorted(number for number in self._rounds() if number <= round_)
        kept = {*known[-2:], *[number for number in known if number < best_round][-1:]}
        for number in set(self._rounds()) - kept:
            self._states.pop(number, None)
            if self._place is not None:
                (self._place / _STATE.format(number)).unlink(missing_ok=True)

    def _rounds(self) -> list[int]:
        """Rounds after which there is a state."""
        if self._place is None:
            return sorted(self._states)
        return sorted(int(path.stem.split("-")[1]) for path in self._place.glob(_STATE.format("*")))

    def _write(self, state: SiteState) -> None:
        assert self._place is not None, "there is a place to write to"
        tensors = {f"{part}/{n}": np.ascontiguousarray(t) for part in _PARTS for n, t in getattr(state, part).items()}
        said = {"state": json.dumps({"round": state.round, "num_made": state.num_made})}
        with atomic_file(self._place / _STATE.format(state.round)) as path:
            safetensors.numpy.save_file(tensors, str(path), said)

    def _read(self, round_: int) -> SiteState:
        assert self._place is not None, "there is a place to read from"
        path = self._place / _STATE.format(round_)
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
            if part in parts:  # earlier versions kept control variates too
                parts[part][name] = tensor
        return SiteState(said["round"], said["num_made"], **parts)
