"""Writing that is either whole or not there: write beside, then rename."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from sojourn.errors import ConfigError, DataError

_PART = ".part"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path`; it becomes `path` only when the block ends without an exception.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with atomic_file(target) as part:
    ...     _ = part.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}{_PART}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, resume: bool = False) -> Iterator[Path]:
    """Yield a folder beside `path`; it becomes `path` only when the block ends without an exception.

    With `resume`, what an interrupted call left in the folder beside is kept, so that the caller can go on from it;
    without it, the folder starts empty and is removed on failure.

    Raises
    ------
    DataError
        If `path` exists already: finished work is never overwritten.
    """
    if path.exists():
        msg = (
            f"{path} must not exist yet; something is there already. Choose another folder, or remove it if it is an "
            "earlier result."
        )
        raise DataError(msg)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}{_PART}")
    if part.exists() and not resume:
        shutil.rmtree(part)
    part.mkdir(exist_ok=True)
    try:
        yield part
        os.replace(part, path)
    finally:
        if not resume and part.exists():
            shutil.rmtree(part)


def cut_torn(path: Path) -> bool:
    """Move what a crash left of a last line, which has no end, from a file of lines to one beside it; whether it did.

    Examples
    --------
    >>> import tempfile
    >>> lines = Path(tempfile.mkdtemp()) / "log.jsonl"
    >>> _ = lines.write_text('{"a": 1}\\n{"b"')
    >>> cut_torn(lines), lines.read_text(), lines.with_name("log.jsonl.torn").read_text()
    (True, '{"a": 1}\\n', '{"b"\\n')
    """
    content = path.read_bytes() if path.exists() else b""
    whole = content.rfind(b"\n") + 1
    if whole == len(content):
        return False
    with path.with_name(path.name + ".torn").open("ab") as side:
        side.write(content[whole:] + b"\n")
        side.flush()
        os.fsync(side.fileno())
    os.truncate(path, whole)
    return True


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[BinaryIO]:
    """Open a file for reading and adding to it, for one holder at a time; one that is killed lets go of it.

    Windows has no such locks, and nothing is held there.

    Raises
    ------
    BlockingIOError
        If somebody else holds it and `wait` is false.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "log"
    >>> with locked(path) as file:
    ...     _ = file.write(b"line")
    >>> path.read_text()
    'line'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield file


def check_place(path: Path) -> None:
    """Refuse a file or folder to write whose folder cannot be made, because a file is in the way.

    Raises
    ------
    ConfigError
        If so.
    """
    nearest = next(above for above in path.absolute().parents if above.exists())
    if not nearest.is_dir():
        msg = f"out must lie in a folder; {nearest}, in which {path} would lie, is none. Choose another place."
        raise ConfigError(msg)


def check_target(path: Path, *, inputs: Iterable[Path] = ()) -> None:
    """Refuse a file to write before any work is done for it: one that cannot be made, or that is itself read.

    Parameters
    ----------
    path : file to write; another one that is there is replaced.
    inputs : files that are read.

    Raises
    ------
    ConfigError
        If it is a folder or an input, or its folder cannot be made because a file is in the way.
    """
    if path.is_dir():
        msg = f"out must be a file to write; {path} is a folder. Add a name."
        raise ConfigError(msg)
    check_place(path)
    if path.exists() and any(read.exists() and path.samefile(read) for read in inputs):
        msg = f"out must be another file than those that are read; {path} is one of them. Choose another name."
        raise ConfigError(msg)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON with sorted keys, atomically and with the same bytes for the same content."""
    with atomic_file(path) as part:
        part.write_text(json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a damaged one raises `DataError` with its place."""
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        msg = f"{path} must hold JSON; it is damaged at line {error.lineno}. Restore it or make it again."
        raise DataError(msg) from error
