"""A run made from another run: the same folder as one that was pre-trained, and a note of how it came about."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sojourn.adaptation.identity import plain
from sojourn.errors import DataError, RunError
from sojourn.files import atomic_file, atomic_folder
from sojourn.model import Network
from sojourn.training.run import LINEAGE, SETTINGS, VOCABULARY, WEIGHTS, Run, read_settings, save_settings, save_tensors

LOG = "adaptation.jsonl"
CHECKPOINTS = "checkpoints"


def lineage(base: Run, step: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was done to the base run, and now this."""
    return [*base.settings.get(LINEAGE, []), plain(step)]


def is_finished(new_run: Path, made_by: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the folder holds the run that the same call made before.

    Raises
    ------
    RunError
        If it holds anything else.
    """
    if not new_run.exists():
        return False
    before = read_settings(new_run).get(LINEAGE) if (new_run / SETTINGS).exists() else None
    if before != list(made_by):
        msg = f"new run must not exist yet or be of the same call; {new_run} is not. Choose another folder."
        raise RunError(msg)
    return True


@contextmanager
def unfinished_run(new_run: Path, made_by: Sequence[Mapping[str, Any]]) -> Iterator[Path]:
    """A folder beside `new_run` for checkpoints; it becomes `new_run` when the block ends without an exception.

    What an interrupted call of the same kind left is kept; anything else in it is removed.
    """
    said = new_run.with_name(f".{new_run.name}.part") / LOG
    if said.parent.exists() and not (said.exists() and _lines(said)[:1] == [{"made_by": list(made_by)}]):
        shutil.rmtree(said.parent)
    with atomic_folder(new_run, resume=True) as part:
        if not (part / LOG).exists():
            _write_lines(part / LOG, [{"made_by": list(made_by)}])
        yield part
        if not (part / WEIGHTS).exists():
            msg = f"{part} must hold weights when it is finished; it has none."
            raise DataError(msg)
        shutil.rmtree(part / CHECKPOINTS, ignore_errors=True)


def write_run(
    folder: Path,
    base: Run,
    network: Network,
    *,
    made_by: Sequence[Mapping[str, Any]],
    sites: Sequence[str],
    log: Sequence[Mapping[str, Any]],
) -> None:
    """Everything that makes a folder a run; the weights come last, since they are what makes it one."""
    save_settings(folder, {**base.settings, "sites": list(sites), LINEAGE: list(made_by)})
    shutil.copyfile(base.path / VOCABULARY, folder / VOCABULARY)
    _write_lines(folder / LOG, [{"made_by": list(made_by)}, *log])
    save_tensors(folder / WEIGHTS, network.state_dict())


def read_log(run: Path) -> list[dict[str, Any]]:
    """The log of the last adaptation: what made it, then one line per epoch and a summary."""
    return _lines(run / LOG)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    with atomic_file(path) as part:
        part.write_text("".join(json.dumps(line) + "\n" for line in lines))
