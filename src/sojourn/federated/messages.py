"""What travels between the coordinator and a site: named tensors, numbers and texts, and nothing that runs as code."""

import json
import math
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from sojourn.errors import UpdateRefusedError

Tensors = dict[str, npt.NDArray[Any]]

BEST_ROUND = "best_round"
"""Name of the number of rounds after which the weights stood that a question is about or, in training, the best so
far: the site's own part of the network that goes with them is the one that it had then."""
CONTROL, SQUARES = "control.", "exp_avg_sq."
"""Beginnings of the names of what travels beside weights: control variates, and second moments as torch calls them."""
PARTS = {"": "update", CONTROL: "control", SQUARES: "moments"}
UNREADABLE = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    MemoryError,
    safetensors.SafetensorError,
)
"""What reading the bytes of a stranger may raise."""
_HEADER = "sojourn"
_LENGTH_BYTES = 8
_LONGEST_WORD, _LONGEST_DETAIL = 40, 500
_NO_REASONS = ("ok", "too_few")
"""What stands in tables for an answer: told as the reason of a refusal, it would count as one."""
_ROUNDING = 1e-9
_MAX_HEADER_BYTES = 100_000_000


class Message(NamedTuple):
    """A request to a site, or its reply."""

    kind: str
    """What is asked or answered, such as ``train``; an answer has the kind of its question."""
    round: int = 0
    """Number of the round, from 0."""
    tensors: Tensors = {}  # noqa: RUF012  (never changed in place)
    """Arrays by name."""
    numbers: Mapping[str, float] = {}
    """Finite numbers by name."""
    texts: Mapping[str, str] = {}
    """Words by name."""

    @property
    def num_bytes(self) -> int:
        """Size of the arrays, which is nearly all that is sent."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


class Refusal(NamedTuple):
    """Why a site gave no usable answer."""

    reason: str
    """One word: ``unreachable``, ``not_finite``, ``wrong_shape``..."""
    detail: str = ""
    """A sentence for the log; never a value of a record."""

    @classmethod
    def told(cls, reason: str, detail: str) -> "Refusal":
        """As a stranger told it: anything but a word is no reason, and the sentence is one line.

        Examples
        --------
        >>> [Refusal.told(word, "not now\\n" * 200).reason for word in ("budget", "[/red]", "ok")]
        ['budget', 'malformed', 'malformed']
        """
        is_word = 0 < len(reason) <= _LONGEST_WORD and reason.isascii() and reason.replace("_", "").isalpha()
        is_word &= reason not in _NO_REASONS
        line = "".join(letter if letter.isprintable() else " " for letter in detail[:_LONGEST_DETAIL])
        return cls(reason if is_word else "malformed", line)


def pack(message: Message) -> bytes:
    """A message as bytes: safetensors, with the rest as JSON in its header.

    Examples
    --------
    >>> sent = Message("train", 3, {"w": np.ones(2, np.float32)}, {"events": 7.0})
    >>> unpack(pack(sent)).numbers, unpack(pack(sent)).tensors["w"].tolist()
    ({'events': 7.0}, [1.0, 1.0])
    """
    header = {
        "kind": message.kind,
        "round": message.round,
        "numbers": dict(message.numbers),
        "texts": dict(message.texts),
    }
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in message.tensors.items()}
    packed: bytes = safetensors.numpy.save(tensors, {_HEADER: json.dumps(header, allow_nan=False)})
    return packed


def unpack(content: bytes) -> Message:
    """The message in `content`.

    Raises
    ------
    UpdateRefusedError
        If the bytes are cut short or are something else (``malformed``).
    """
    try:
        length = int.from_bytes(content[:_LENGTH_BYTES], "little")
        if not 0 < length <= min(len(content) - _LENGTH_BYTES, _MAX_HEADER_BYTES):
            raise ValueError("no header")
        header = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length])["__metadata__"][_HEADER]
        said = json.loads(header)
        tensors = safetensors.numpy.load(content)
        numbers = {str(name): float(number) for name, number in said["numbers"].items()}
        if not all(map(math.isfinite, numbers.values())):
            raise ValueError("numbers must be finite")
        texts = {str(name): str(text) for name, text in said["texts"].items()}
        return Message(str(said["kind"]), int(said["round"]), tensors, numbers, texts)
    except UNREADABLE as error:
        msg = (
            f"message must be safetensors with Sojourn's header; got {len(content)} bytes that are not. Send it again."
        )
        raise UpdateRefusedError("malformed", msg) from error


def narrow(message: Message) -> Message:
    """The message with its float32 tensors as float16, mean squares by their roots; `widen` takes it back.

    Numbers from 6e-5 to 65,504 keep 11 bits, smaller ones are rounded to multiples of 6e-8; what is larger becomes
    infinite, and is refused as such.

    Examples
    --------
    >>> sent = Message("train", tensors={"w": np.float32([0.1]), "exp_avg_sq.w": np.float32([2.0**-20])})
    >>> {name: tensor.tolist() for name, tensor in widen(narrow(sent)).tensors.items()}
    {'w': [0.0999755859375], 'exp_avg_sq.w': [9.5367431640625e-07]}
    """
    with np.errstate(over="ignore"):
        narrowed = {
            name: (np.sqrt(tensor) if part_of(name) == SQUARES else tensor).astype(np.float16)
            for name, tensor in message.tensors.items()
            if tensor.dtype == np.float32
        }
    return message._replace(tensors=message.tensors | narrowed)


def widen(message: Message) -> Message:
    """The message with its float16 tensors, if any, as float32."""
    wide = {n: t.astype(np.float32) for n, t in message.tensors.items() if t.dtype == np.float16}
    wide |= {name: np.square(tensor) for name, tensor in wide.items() if part_of(name) == SQUARES}
    return message._replace(tensors=message.tensors | wide)


def check(message: Message, kind: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse an answer that is not what was asked for.

    Parameters
    ----------
    message : the answer.
    kind : what was asked.
    shapes : shape of every tensor that the answer must have, and no other.

    Raises
    ------
    UpdateRefusedError
        With the reason ``wrong_kind``, ``wrong_names`` (another vocabulary or version), ``wrong_shape``, ``wrong_type``
        or ``not_finite``.
    """
    if message.kind != kind:
        raise UpdateRefusedError("wrong_kind", f"answer must be of kind {kind}; got {message.kind}.")
    if message.tensors.keys() != shapes.keys():
        lacks, extra = sorted(shapes.keys() - message.tensors.keys()), sorted(message.tensors.keys() - shapes.keys())
        msg = f"{kind} must hold exactly the tensors that are due; it lacks {lacks[:3]} and adds {extra[:3]}."
        raise UpdateRefusedError("wrong_names", msg)
    for name, shape in shapes.items():
        tensor = message.tensors[name]
        if tensor.shape != shape:
            raise UpdateRefusedError("wrong_shape", f"{name} must have the shape {shape}; got {tensor.shape}.")
        if tensor.dtype.kind != "f":
            raise UpdateRefusedError("wrong_type", f"{name} must hold floating-point numbers; got {tensor.dtype}.")
        if not np.isfinite(tensor).all():
            raise UpdateRefusedError("not_finite", f"{name} must be finite; it holds NaN or infinity.")
    if not all(np.isfinite(number) for number in message.numbers.values()):
        raise UpdateRefusedError("not_finite", "numbers must be finite; some are not.")


def check_update(message: Message, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse an update with other tensors than were sent (`check`), or with mean squares below zero (``negative``)."""
    check(message, "train", shapes)
    if any((tensor < 0).any() for name, tensor in message.tensors.items() if name.startswith(SQUARES)):
        raise UpdateRefusedError("negative", "mean squares of gradients must not be negative; some are.")


def part_of(name: str) -> str:
    """What a tensor of an update is: weights (the empty text), `CONTROL` or `SQUARES`.

    Examples
    --------
    >>> part_of("control.start"), part_of("exp_avg_sq.start"), part_of("start")
    ('control.', 'exp_avg_sq.', '')
    """
    return next((part for part in (CONTROL, SQUARES) if name.startswith(part)), "")


def check_hazards(message: Message, shape: tuple[int, int]) -> None:
    """Refuse an answer about hazards that holds anything but counts of the given shape (`check`; ``negative``)."""
    check(message, "hazards", {"events": shape, "exposure": shape})
    if any((tensor < 0).any() for tensor in message.tensors.values()):
        raise UpdateRefusedError("negative", "events and hours of exposure must not be negative; some are.")


def check_figures(message: Message, kind: str, names: Collection[str]) -> None:
    """Refuse an answer with anything but these numbers, none of them below zero, or with none (`check`; ``malformed``).

    Raises
    ------
    UpdateRefusedError
        With the reason ``malformed``, or those of `check`.
    """
    check(message, kind, {})
    if message.numbers and (message.numbers.keys() != set(names) or min(message.numbers.values()) < 0):
        raise UpdateRefusedError("malformed", f"figures must be {', '.join(names)}, none below 0; they are not.")


def check_auroc(lower: float, value: float, upper: float) -> None:
    """Refuse an AUROC that is outside its interval, or an interval outside of 0 to 1 (``malformed``)."""
    ends = (0, lower, value, upper, 1)
    # Value and replicates are computed in two ways, which differ in the last digits.
    if any(before > after + _ROUNDING for before, after in pairwise(ends)):
        raise UpdateRefusedError("malformed", "an AUROC must lie in its interval, and that in 0 to 1; it does not.")


def norm(tensors: Mapping[str, npt.NDArray[Any]]) -> float:
    """Euclidean norm of all tensors together.

    Examples
    --------
    >>> norm({"a": np.array([3.0]), "b": np.array([[4.0]])})
    5.0
    """
    return float(np.sqrt(sum(float(np.vdot(tensor, tensor)) for tensor in tensors.values())))
