"""A run's folder while it is being made: opened for one set of settings only, and its log."""

import errno
import json
import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from sojourn.concepts.coverage import coverage
from sojourn.errors import RunError
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.files import atomic_file, locked, write_json
from sojourn.progress import console, progress_bar
from sojourn.training.config import read_config
from sojourn.training.fits import density_fits
from sojourn.training.looking import looking, watched
from sojourn.training.records import Ints
from sojourn.training.run import LINEAGE, METRICS, SETTINGS, VOCABULARY, Run, read_settings, resolved, save_settings
from sojourn.training.selection import Selection, evenly

FITS = "artifacts/fits.json"
LOOKING = "artifacts/looking.json"
"""How often the known hospitals measure what outcomes wait for, as `sojourn.training.looking` has it."""
_LOCK = "training.lock"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_FREE_ON_RESUME = frozenset({"epochs", "max_steps", "patience", "accelerator", "cut_weights"})
_FIT_SUBJECTS = 300
_LOOKING_SUBJECTS = 500


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Keep others from training in a run's folder: each would go on from what the other has half written.

    Raises
    ------
    RunError
        If another process trains in it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(run / _LOCK, wait=False))
        except BlockingIOError as error:
            msg = f"run must be a folder in which nobody trains; another process trains in {run}. Wait for its end."
            raise RunError(msg) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            console.print(f"{run} lies on a file system without locks: see to it that nobody else trains in it")
        try:
            yield
        finally:
            if sys.platform != "win32":  # which keeps open files
                (run / _LOCK).unlink(
                    missing_ok=True
                )  # while it is held, so that nobody else can hold the one that goes


def check_folder(run: Path, selection: Selection, *, resume: bool) -> None:
    """Refuse a folder that holds a run with other settings; `resume` allows those that only say how far and where.

    Raises
    ------
    RunError
        If it does, or holds anything that is no run: a store too has a `vocabulary.parquet`.
    """
    if not (run / SETTINGS).exists():
        if run.exists() and (not run.is_dir() or any(path.name != _LOCK for path in run.iterdir())):
            msg = (
                f"run must be a new or empty folder, or hold a run; {run} holds something else. Choose another folder."
            )
            raise RunError(msg)
        return
    before, settings = read_settings(run), selection.settings()
    if LINEAGE in before:
        msg = f"run must be a folder of pre-training; {run} was made from another run. Choose another folder."
        raise RunError(msg)
    # Settings that the version which made the run did not have yet stood at what is now their default.
    was, now = (resolved(read_config(config)) for config in (before["config"], settings["config"]))
    changed = {name for name in now if was.get(name) != now[name]}
    is_same_store = before["data"]["fingerprint"] == settings["data"]["fingerprint"]
    if is_same_store and not changed - (_FREE_ON_RESUME if resume else set()):
        return
    raise RunError(_refusal(run, [name for name in now if name in changed], is_same_store=is_same_store))


def _refusal(run: Path, changed: list[str], *, is_same_store: bool) -> str:
    """Why a run in the folder is not gone on with, and what would do."""
    differ = changed if is_same_store else [*changed, "the store"]
    told = f"{', '.join(differ)} {'differs' if len(differ) == 1 else 'differ'}"
    if not is_same_store:
        way = "Choose another folder, or train on the store that it was made from."
    elif _FREE_ON_RESUME.issuperset(changed):
        way = f"Choose another folder, or pass --resume: it allows other {', '.join(sorted(_FREE_ON_RESUME))}."
    else:
        way = f"Choose another folder, or give the settings that it was made with, as --config {run / SETTINGS} does."
    return f"{run} holds a run with other settings ({told}). {way}"


def begun_vocabulary(run: Path) -> ModelVocabulary | None:
    """Vocabulary of a run that was begun in the folder, if there is one."""
    is_begun = (run / SETTINGS).exists() and (run / VOCABULARY).exists()
    return ModelVocabulary.load(run / VOCABULARY) if is_begun else None


def open_folder(run: Path, selection: Selection) -> None:
    """Write settings and vocabulary."""
    run.mkdir(parents=True, exist_ok=True)
    save_settings(run, selection.settings())
    selection.vocabulary.save(run / VOCABULARY)


def describe(run: Path, store: EventStore, tuning_rows: Ints) -> None:
    """Leave beside the weights what a report tells of the data and of how well the densities fit."""
    with progress_bar("describing the run", 3) as bar:
        for part in (_describe_data, _describe_looking, _describe_fits):
            part(run, store, tuning_rows)
            bar.advance()


def _describe_data(run: Path, store: EventStore, _: Ints) -> None:
    """The store, and what each site records."""
    manifest: dict[str, Any] = {name: store.manifest[name] for name in ("num_subjects", "num_events", "num_codes")}
    manifest["datasets"] = [dataset["name"] for dataset in store.manifest["inputs"]["datasets"]]
    recorded = coverage(store.path).with_columns(pl.col("rate", "median").round_sig_figs(3)).to_dict(as_series=False)
    content = {"datasets": store.accounts(), "store": manifest, "coverage": recorded}
    write_json(run / "artifacts" / "data.json", content)


def _describe_looking(run: Path, store: EventStore, tuning_rows: Ints) -> None:
    """How often the known hospitals look."""
    trained = Run(run)
    asked = watched(trained.vocabulary, trained.outcomes, store)
    rows, context = evenly(tuning_rows, _LOOKING_SUBJECTS), trained.config.context
    found = looking(trained.network(), trained.reader(store), rows, asked, context=context)
    write_json(run / LOOKING, {name: asdict(told) for name, told in found.items()})


def _describe_fits(run: Path, store: EventStore, tuning_rows: Ints) -> None:
    """How well the densities fit."""
    write_json(run / FITS, density_fits(Run(run), store, evenly(tuning_rows, _FIT_SUBJECTS)))


def forget_description(run: Path) -> None:
    """Remove what `describe` told of weights that are about to change, so that a kill leaves none of it."""
    for name in (FITS, LOOKING):
        (run / name).unlink(missing_ok=True)


def log(run: Path, line: dict[str, Any]) -> None:
    """Add a line to the run's log."""
    with (run / METRICS).open("a") as file:
        file.write(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in line.items()}) + "\n")


def forget_after(run: Path, step: int) -> None:
    """Drop log lines of steps that will be made again."""
    path = run / METRICS
    if path.exists():
        lines = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
        with atomic_file(path) as part:
            part.write_text("".join(f"{line}\n" for line in lines))


def _step_of(line: str) -> float:
    """Step of a line of the log; infinity for one that a killed run wrote in part."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf
