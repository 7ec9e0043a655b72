"""A user's own outcome definitions: derived when a store is built, kept in it, and found again by labelling."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import polars as pl

from sojourn.errors import TaskError
from sojourn.files import atomic_file
from sojourn.tasks.outcomes import Outcome, codes_read, derive_outcomes, outcomes, parse_outcomes

__all__ = ["OUTCOMES", "OwnOutcomes", "keep_outcomes", "kept_outcomes", "read_outcomes"]

OUTCOMES = "outcomes.yaml"
"""File of a store with the definitions that it was built with beside the built-in ones."""


@dataclass(frozen=True, slots=True)
class OwnOutcomes:
    """Own definitions as YAML text; suits `build_store(derive=...)`, and `reads` for its `reads`.

    It is text, so that other processes can be given it.
    """

    text: str
    """As in a file of `read_outcomes`."""
    place: str = OUTCOMES
    """Name of the file, for messages."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the text: a store built with other definitions is not taken for the same."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def definitions(self) -> dict[str, Outcome]:
        """The own definitions by name.

        Raises
        ------
        TaskError
            If the text is no YAML, a definition is wrong, or has the name of a built-in one.
        """
        return dict(_parse(self.text, self.place))

    def reads(self, codes: Sequence[str]) -> list[str]:
        """Those of `codes` that the own or the built-in definitions look at."""
        return codes_read(codes, self._all())

    def __call__(self, events: pl.DataFrame) -> pl.DataFrame:
        """Find the built-in and the own outcomes; see `derive_outcomes`."""
        return derive_outcomes(events, self._all())

    def _all(self) -> Mapping[str, Outcome]:
        return outcomes() | _parse(self.text, self.place)


@cache
def _parse(text: str, place: str) -> dict[str, Outcome]:
    """Definitions of a text, none of them a built-in one."""
    found = parse_outcomes(text, place)
    taken = sorted(set(found) & set(outcomes()))
    if taken:
        msg = f"{place} must define other outcomes than the built-in ones; it has {', '.join(taken)}. Rename them."
        raise TaskError(msg)
    return found


def read_outcomes(path: Path) -> OwnOutcomes:
    """Read a YAML file of outcome definitions, in the schema of ``outcomes.yaml`` of the package.

    Raises
    ------
    TaskError
        If the file cannot be read, is no YAML, a definition is wrong, or has the name of a built-in one.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} must be a YAML file of outcome definitions; reading it gave {type(error).__name__}."
        raise TaskError(msg) from error
    own = OwnOutcomes(text, str(path))
    own.definitions()  # a wrong definition stops it at once
    return own


def keep_outcomes(store: Path, own: OwnOutcomes) -> None:
    """Write the definitions into a store that was built with them."""
    if not (store / OUTCOMES).exists():
        with atomic_file(store / OUTCOMES) as part:
            part.write_text(own.text, encoding="utf-8")


def kept_outcomes(store: Path) -> dict[str, Outcome]:
    """The own definitions that a store was built with, by name; none for other folders."""
    return read_outcomes(store / OUTCOMES).definitions() if (store / OUTCOMES).exists() else {}
