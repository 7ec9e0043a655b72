"""MEDS data sets to an event store: piece by piece, in parallel, resumable, with the same bytes every time."""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sojourn.errors import ConfigError, DataError, StoreError
from sojourn.events.derive import Derive, Reads
from sojourn.events.fan_out import LOCAL, check_cluster, check_portable, fan_out
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
    reads: Reads | None = None,
    workers: int = 1,
    cluster: str = LOCAL,
    splits_seed: int = 0,
    use_concepts: bool = True,
) -> BuildReport:
    """Build an event store from MEDS data sets.

    Codes with a concept become CONCEPT//<concept> with value * scale + offset, where the data set's table of units says
    so with the conversion of the event's site; all others are kept exactly, and so are values whose unit could not be
    told. Births are not events but the subject's `birth`; rows without a time are static facts; values that the data
    set flags as implausible are left out of the store (their events stay). A killed build goes on where it was.

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
    reads : callable, optional
        Of the codes of a piece, those that `derive` looks at: it is then shown no other events. It must not change
        what `derive` finds, only how long that takes.
    workers : int
        Processes. The bytes do not depend on it.
    cluster : str
        Where they are: `local`, `ray` or `ray:ADDRESS` (see `sojourn.events.fan_out.fan_out`).
    splits_seed : int
        Seed of `assign_splits` for subjects without a split of their own.
    use_concepts : bool
        False: the store keeps every local code with its recorded value. `derive` is shown the concepts all the same, so
        both stores have the same derived events.

    Returns
    -------
    BuildReport
        With `already_built` if the store was there, made from the same input.

    Raises
    ------
    DataError
        If a data set cannot be used, or `store` holds something made from other input.
    ConfigError
        If there are no such workers or no such cluster, or `derive` cannot be sent to them.
    """
    if workers < 1:
        msg = f"workers must be at least 1; got {workers}."
        raise ConfigError(msg)
    check_cluster(cluster)
    if workers > 1 or cluster != LOCAL:
        check_portable(derive, "derive")
        check_portable(reads, "reads")
        datasets = [folder.resolve() for folder in datasets]  # others may work in another folder
    plan = make_plan(datasets, derive=derive, splits_seed=splits_seed, use_concepts=use_concepts)
    if store.exists():
        return _already_built(store, plan)
    with atomic_folder(store, resume=True) as part:
        _keep_or_clear(part, plan)
        if not (part / MANIFEST).exists():
            work = partial(
                encode_piece,
                part.resolve(),
                derive=derive,
                reads=reads,
                splits_seed=splits_seed,
                use_concepts=use_concepts,
            )
            with progress_bar("building the store", len(plan.pieces)) as bar:
                for _ in fan_out(work, plan.pieces, workers=workers, cluster=cluster):
                    bar.advance()
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
