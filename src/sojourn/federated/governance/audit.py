"""A record of everything that was done, to which lines can be added and from which none can be taken unnoticed.

Each line holds the SHA-256 of the line before it, so a changed, removed or moved line breaks the chain. A file beside
the log holds the last line's number and hash, so a cut tail shows too. Whoever can write both files can write both
anew: that is why sites tell the coordinator the hash of their last line with every answer, which it logs in turn.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from sojourn.files import atomic_file, cut_torn, locked

_FIRST = "0" * 64
_FIELDS = frozenset(
    {"job", "kind", "round", "site", "question", "answer", "bytes", "reason", "by", "key", "name", "head", "epsilon"}
)
"""All that may be told of an event: names, digests and sizes, so that no value of a record can slip in."""
_MAX_LENGTH = 200


class AuditReport(NamedTuple):
    """What a check of a log found."""

    num_lines: int
    head: str
    """SHA-256 of the last line."""
    problems: tuple[str, ...]
    """What is wrong, with line numbers from 1; empty for a whole log."""


class AuditLog:
    """Append-only log of one party.

    Parameters
    ----------
    path : the file; it and its ``.head`` are made with the first line.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._head = path, path.with_name(path.name + ".head")

    def append(self, event: str, **told: str | float) -> str:
        """Add a line, and wait until it is on disk.

        Parameters
        ----------
        event : what happened, in a word.
        told : job, kind, round, site, question, answer, bytes, reason, by, key, name, head or epsilon.

        Returns
        -------
        str
            SHA-256 of the line.
        """
        unknown = told.keys() - _FIELDS
        assert not unknown, f"the log has no place for {sorted(unknown)}"
        said = {name: value[:_MAX_LENGTH] if isinstance(value, str) else value for name, value in told.items()}
        with locked(self.path) as file:  # a node and a command may both have something to add
            if cut_torn(self.path):  # a line that a crash cut short; the next one must not be glued to it
                self._write(file, "recovered", {})
            return self._write(file, event, said)

    def _write(self, file: BinaryIO, event: str, said: Mapping[str, str | float]) -> str:
        file.seek(0)
        number, before = self._last(file.read())
        line = {"number": number + 1, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event}
        text = json.dumps({**line, **said, "before": before}, allow_nan=False).encode()
        file.write(text + b"\n")
        file.flush()
        os.fsync(file.fileno())
        head = _hash(text)
        with atomic_file(self._head) as part:
            part.write_text(json.dumps({"number": number + 1, "head": head}))
        return head

    @property
    def head(self) -> str:
        """SHA-256 of the last line; of an empty log, zeros."""
        return self._last(self.path.read_bytes())[1] if self.path.exists() else _FIRST

    def lines(self) -> list[dict[str, Any]]:
        """All lines that can be read."""
        content = self.path.read_bytes() if self.path.exists() else b""
        return [line for line in map(_read, content.splitlines()) if line is not None]

    def verify(self) -> AuditReport:
        """Check every line and the chain between them."""
        content = self.path.read_bytes() if self.path.exists() else b""
        problems, before, texts = [], _FIRST, content.splitlines()
        for number, text in enumerate(texts, 1):
            line = _read(text)
            if line is None:
                problems.append(f"line {number} is not whole")
            elif line.get("before") != before:
                problems.append(f"line {number} does not follow the line before it: one was changed, moved or removed")
            elif line.get("number") != number:
                problems.append(f"line {number} has the number {line.get('number')}")
            before = _hash(text)
        # A crash between writing a line and writing the head leaves the head one line behind.
        known: dict[str, Any] = (
            json.loads(self._head.read_text()) if self._head.exists() else {"number": 0, "head": _FIRST}
        )
        at = int(known["number"])
        if (
            len(texts) not in (at, at + 1)
            or (_hash(texts[at - 1]) if at and at <= len(texts) else _FIRST) != known["head"]
        ):
            problems.append(f"the log must end with line {at}, as {self._head.name} says; it has {len(texts)} lines")
        return AuditReport(len(texts), before, tuple(problems))

    def missing_from(self, witness: "AuditLog", site: str) -> tuple[str, ...]:
        """What a coordinator's log remembers of this site's log and this log does not hold, or holds in another order;
        and questions in this log that the coordinator's, which was told of later lines, does not hold.

        A log that was written anew from its first line is whole by itself; only who was told its last lines knows. A
        question that the coordinator has not noted came from somebody else who has its key.

        Parameters
        ----------
        witness : log of the coordinator, which keeps the last line that a site told with each answer.
        site : the site whose log this is.

        Returns
        -------
        tuple of str
            One sentence for each answer or question; empty where the two agree.
        """
        content = self.path.read_bytes() if self.path.exists() else b""
        place = {_hash(text): number for number, text in enumerate(content.splitlines(), 1)} | {_FIRST: 0}
        problems, last = [], 0
        for line in witness.lines():
            if line.get("site") != site or not line.get("head"):
                continue
            at = place.get(line["head"])
            if at is None:
                problems.append(f"the line that the site told last on {line['time'][:19]} is not in it")
            elif at < last:
                problems.append(f"the line that the site told last on {line['time'][:19]} stands before an older one")
            last = last if at is None else max(last, at)
        return (*problems, *self._unasked(witness, site, until=last))

    def _unasked(self, witness: "AuditLog", site: str, *, until: int) -> list[str]:
        """Questions in the first lines, of jobs that a coordinator's log knows, that it did not note as asked."""
        noted = [line for line in witness.lines() if line.get("event") == "asked" and line.get("site") == site]
        asked = {line.get("question") for line in noted}
        own = [(k, line) for k, line in enumerate(self.lines()[:until], 1) if line.get("event") == "asked"]
        # Earlier versions noted another digest at the site: jobs of theirs have no question in common.
        jobs = {line.get("job") for line in noted} & {line.get("job") for _, line in own if line["question"] in asked}
        return [
            f"the question in line {number} is none that the coordinator noted"
            for number, line in own
            if line.get("job") in jobs and line["question"] not in asked
        ]

    @staticmethod
    def _last(content: bytes) -> tuple[int, str]:
        """Number and hash of the last line."""
        texts = content.splitlines()
        return (len(texts), _hash(texts[-1])) if texts else (0, _FIRST)


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _read(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None
