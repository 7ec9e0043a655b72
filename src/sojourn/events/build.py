"""MEDS data sets to an event store: piece by piece, in parallel, resumable, with the same bytes every time."""

import multiprocessing
import pickle
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from sojourn.errors import ConfigError, DataError, StoreError
from sojourn.events.derive import Derive
from sojourn.events.finish import finish
from sojourn.events.pieces import WORK, encode_piece
from sojourn.events.plan import Plan, make_plan
from sojourn.events.records import BuildReport
from sojourn.files import atomic_folder, read_json, write_json
from sojourn.progress import progress_bar

MANIFEST = "manifest.json"
_INPUTS = "inputs.json"


def build_store(
    store: Path,
    datasets: Sequence[Path],
    *,
    derive: Derive | None = None,
    workers: int = 1,
    splits_seed: int = 0,
) -> BuildReport:
    """Build an event store from MEDS data sets.

    Codes with a concept become CONCEPT//<concept> with value * scale + offset; all others are kept exactly. Births
    are not events but the subject's `birth`; rows without a time are static facts; values that the data set flags
    as implausible are left out of the store (their events stay). A killed build goes on where it was.

    Parameters
    ----------
    store : Path
        Folder to make.
    datasets : sequence of Path
        MEDS data sets; their subject ids must not clash. A data set without `site` gets its folder's name.
    derive : callable, optional
        Maps timed events (subject_id, time, code, numeric_value) of whole subjects to target-only OUTCOME//...
        events (subject_id, time, code). A module-level function if `workers` > 1. It is known by its name and, where
        it has one, its attribute `fingerprint` (str): a store built with another is not taken for the same.
    workers : int
        Processes. The bytes do not depend on it.
    splits_seed : int
        Seed of `assign_splits` for subjects without a split of their own.

    Returns
    -------
    BuildReport
        With `already_built` if the store was there, made from the same input.

    Raises
    ------
    DataError
        If a data set cannot be used, or `store` holds something made from other input.
    """
    if workers < 1:
        msg = f"workers must be at least 1; got {workers}."
        raise ConfigError(msg)
    plan = make_plan(datasets, derive=derive, splits_seed=splits_seed)
    if store.exists():
        return _already_built(store, plan)
    with atomic_folder(store, resume=True) as part:
        _keep_or_clear(part, plan)
        if not (part / MANIFEST).exists():
            _encode(part, plan, derive=derive, workers=workers, splits_seed=splits_seed)
            write_json(part / MANIFEST, finish(part, plan))
        shutil.rmtree(part / WORK, ignore_errors=True)
    return report_of(store)


def _keep_or_clear(part: Path, plan: Plan) -> None:
    """Keep what an interrupted build left only if it was of the same input."""
    manifest, inputs = part / MANIFEST, part / WORK / _INPUTS
    found = read_json(manifest)["inputs"] if manifest.exists() else None
    if found is None and inputs.exists():
        found = read_json(inputs)
    if found != plan.inputs:
        shutil.rmtree(part)
        write_json(inputs, plan.inputs)


def _encode(part: Path, plan: Plan, *, derive: Derive | None, workers: int, splits_seed: int) -> None:
    """Encode all pieces, here or in other processes."""
    arguments: dict[str, Any] = {"derive": derive, "splits_seed": splits_seed}
    with progress_bar("building the store", len(plan.pieces)) as bar:
        if workers == 1 or len(plan.pieces) == 1:
            for piece in plan.pieces:
                encode_piece(part, piece, **arguments)
                bar.advance()
            return
        _check_portable(derive)
        # Fresh processes: polars' threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            futures = [pool.submit(encode_piece, part, piece, **arguments) for piece in plan.pieces]
            try:
                for future in as_completed(futures):
                    future.result()
                    bar.advance()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _check_portable(derive: Derive | None) -> None:
    """Other processes import the derivation by its name."""
    try:
        pickle.dumps(derive)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        msg = "derive must be a function at the top level of a module when workers > 1. Use workers=1 for this one."
        raise ConfigError(msg) from error


def _already_built(store: Path, plan: Plan) -> BuildReport:
    """Say what is there, if it is what was asked for."""
    if not (store / MANIFEST).exists():
        msg = f"{store} must not exist yet or be an event store; it has no {MANIFEST}. Choose another folder."
        raise StoreError(msg)
    have, want = read_json(store / MANIFEST)["inputs"], plan.inputs
    if have != want:
        names = [[entry["name"] for entry in inputs["datasets"]] for inputs in (have, want)]
        differ = sorted(key for key in want if have.get(key) != want[key])
        msg = (
            f"{store} must be built from the input that it holds already, {names[0]}; got {names[1]} "
            f"(they differ in {', '.join(differ)}). Remove the store or choose another folder."
        )
        raise DataError(msg)
    return report_of(store, already_built=True)


def report_of(store: Path, *, already_built: bool = False) -> BuildReport:
    """What the manifest of a store says."""
    manifest = read_json(store / MANIFEST)
    accounts = manifest["accounts"]
    arrays = ("/code.npy", "/value.npy", "/seconds.npy")
    size = sum(entry["bytes"] for name, entry in manifest["files"].items() if name.endswith(arrays))
    return BuildReport(
        store=str(store),
        datasets=tuple(entry["name"] for entry in manifest["inputs"]["datasets"]),
        num_subjects=manifest["num_subjects"],
        num_events=manifest["num_events"],
        num_static=manifest["num_static"],
        num_codes=manifest["num_codes"],
        num_shards=manifest["num_shards"],
        rows=accounts["rows"],
        quarantined=accounts["quarantined"],
        notes=accounts["notes"],
        subjects_without_time=accounts["subjects_without_time"],
        bytes_per_event=size / max(manifest["num_events"], 1),
        already_built=already_built,
    )
