"""What a run folder holds for the report, read with tolerance: what is missing or damaged is said, never invented."""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sojourn.errors import DataError, RunError
from sojourn.files import read_json
from sojourn.report.formatting import number

_MAX_HEADER_BYTES = 100_000_000


class Estimate(NamedTuple):
    """A metric with its interval; NaN where there is none."""

    value: float
    lower: float
    upper: float


class Bin(NamedTuple):
    """One bin of a reliability curve."""

    mean_predicted: float
    observed: float
    lower: float
    upper: float
    num: float
    """Predictions in the bin."""


@dataclass(frozen=True, slots=True)
class Entry:
    """How one method did at one task in one group."""

    evaluation: str
    """Name of the evaluation file, without its suffix."""
    task: str
    method: str
    group: str
    """`overall` or the name of a site."""
    num_predictions: float
    num_subjects: float
    prevalence: float
    metrics: Mapping[str, Estimate]
    reliability: tuple[Bin, ...]
    file: str = ""
    """Name of the prediction file."""
    intervals: str = ""
    """What the bootstrap drew, such as `subjects`; empty where it is not told."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Everything that the report reads, in memory."""

    name: str
    settings: Mapping[str, Any]
    """Content of `run.yaml`; empty where there is none."""
    curve: tuple[Mapping[str, Any], ...]
    """Lines of `metrics.jsonl` in the order of writing."""
    entries: tuple[Entry, ...]
    """All evaluations together."""
    evaluations: tuple[Mapping[str, Any], ...]
    """Head of each evaluation file: name, seed, num_bootstrap, versions."""
    data: Mapping[str, Any]
    fits: Mapping[str, Any]
    timeline: Mapping[str, Any]
    num_weights: float
    """Numbers in `model.safetensors`; NaN where there is none."""
    problems: tuple[str, ...]
    """What could not be read, in words for the reader."""


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping as it is and anything else as an empty one."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: Any) -> list[Any]:
    """Return a list or tuple as a list and anything else as an empty one."""
    return list(value) if isinstance(value, list | tuple) else []


def find(settings: Mapping[str, Any], *keys: str) -> Any:
    """Return the first value under one of `keys` at any depth, or None; earlier keys and outer levels win.

    Examples
    --------
    >>> find({"model": {"num_parameters": 7}, "seed": 1}, "num_parameters")
    7
    """
    for key in keys:
        level: list[Mapping[str, Any]] = [settings]
        while level:
            for mapping in level:
                if mapping.get(key) is not None:
                    return mapping[key]
            level = [child for mapping in level for child in mapping.values() if isinstance(child, Mapping)]
    return None


def unseen_sites(run: RunFolder) -> list[str]:
    """Sites that the run never saw in training: those it held out, and evaluated ones where it was not trained."""
    value = find(run.settings, "held_out_sites")
    held_out = {str(site) for site in as_list(value)}
    trained = {str(site) for site in as_list(run.settings.get("sites"))}
    evaluated = {entry.group for entry in run.entries} - {"overall"}
    return sorted((held_out | (evaluated - trained if trained else set())) - trained)


def taught_tasks(settings: Mapping[str, Any]) -> list[str]:
    """Tasks that the run was fine-tuned on, by what run.yaml says of how it came about; none for one that was not."""
    steps = [as_mapping(step) for step in as_list(settings.get("adapted"))]
    return list(dict.fromkeys(str(step.get("task")) for step in steps if step.get("kind") == "finetune"))


def read_run(run: Path) -> RunFolder:
    """Read a run folder.

    Raises
    ------
    RunError
        If `run` is not a folder, or holds nothing that a run would leave.
    """
    artifacts = run / "artifacts"
    if not run.is_dir() or not any((run / name).exists() for name in ("run.yaml", "metrics.jsonl", "artifacts")):
        msg = (
            f"run must be the folder of a run (run.yaml, metrics.jsonl, artifacts/); got {run}. "
            f"Make one with `sojourn pretrain STORE {run}`."
        )
        raise RunError(msg)
    problems: list[str] = []
    folder = artifacts / "evaluation"
    files = {_evaluation_name(path, folder): path for path in sorted(folder.rglob("*.json"))}
    evaluations = [(name, _mapping_file(path, run, problems)) for name, path in files.items()]
    settings = _settings(run / "run.yaml", problems)
    entries = [entry for stem, content in evaluations for entry in _entries(stem, content)]
    if taught_tasks(settings):  # a query of a fine-tuned run is no zero-shot answer
        entries = [replace(e, method=re.sub(r"^query\b", "sojourn", e.method)) for e in entries]
    return RunFolder(
        name=run.resolve().name,
        settings=settings,
        curve=tuple(_lines(run / "metrics.jsonl", problems)),
        entries=_distinct(entries),
        evaluations=tuple(
            {"name": stem, **{k: v for k, v in content.items() if k != "entries"}} for stem, content in evaluations
        ),
        data=_mapping_file(artifacts / "data.json", run, problems),
        fits=_mapping_file(artifacts / "fits.json", run, problems),
        timeline=_mapping_file(artifacts / "timeline.json", run, problems)
        or _mapping_file(artifacts / "timeline" / "timeline.json", run, problems),
        num_weights=_num_weights(run / "model.safetensors", problems),
        problems=tuple(problems),
    )


def _settings(path: Path, problems: list[str]) -> Mapping[str, Any]:
    """Content of run.yaml; a damaged one is a problem to report."""
    if not path.exists():
        return {}
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError):
        problems.append(f"{path.name} is not readable YAML")
        return {}
    if not isinstance(content, dict):
        problems.append(f"{path.name} holds no settings")
    return as_mapping(content)


def _mapping_file(path: Path, run: Path, problems: list[str]) -> Mapping[str, Any]:
    """Content of a JSON file; empty where it is missing, a problem where it is damaged."""
    if not path.exists():
        return {}
    try:
        content = read_json(path)
    except (DataError, UnicodeDecodeError):
        problems.append(f"{path.relative_to(run)} is not readable JSON")
        return {}
    if not isinstance(content, dict):
        problems.append(f"{path.relative_to(run)} holds no JSON object")
    return as_mapping(content)


def _num_weights(path: Path, problems: list[str]) -> float:
    """Count the numbers in a safetensors file from its header alone: 8 bytes of length, then JSON with every shape."""
    if not path.exists():
        return math.nan
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(size, _MAX_HEADER_BYTES)))
        return float(sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"))
    except (ValueError, AttributeError, KeyError, TypeError):
        problems.append(f"{path.name} is not a readable safetensors file")
        return math.nan


def _lines(path: Path, problems: list[str]) -> Iterator[Mapping[str, Any]]:
    """Lines of a JSON-lines file; unreadable ones (a run may have been killed while it wrote) are counted."""
    if not path.exists():
        return
    num_bad = 0
    for line in path.read_text(errors="replace").splitlines():
        try:
            content = json.loads(line)
        except json.JSONDecodeError:
            num_bad += 1
            continue
        if isinstance(content, dict):
            yield content
    if num_bad:
        problems.append(f"{num_bad} line{'s' if num_bad > 1 else ''} of {path.name} could not be read")


def _entries(stem: str, content: Mapping[str, Any]) -> Iterator[Entry]:
    """Entries of one evaluation file."""
    for raw in as_list(content.get("entries")):
        entry = as_mapping(raw)
        if not entry:
            continue
        yield Entry(
            evaluation=stem,
            task=str(entry.get("task", "unnamed task")),
            method=str(entry.get("method", "unnamed method")),
            group=str(entry.get("group", "overall")),
            num_predictions=number(entry.get("num_predictions")),
            num_subjects=number(entry.get("num_subjects")),
            prevalence=number(entry.get("prevalence")),
            metrics={str(k): _estimate(v) for k, v in as_mapping(entry.get("metrics")).items()},
            reliability=tuple(_bin(as_mapping(b)) for b in as_list(entry.get("reliability"))),
            file=str(entry.get("file") or ""),
            intervals=str(entry.get("intervals") or ""),
        )


def _estimate(value: Any) -> Estimate:
    """A metric as a mapping with bounds or as a bare number."""
    parts = as_mapping(value)
    if not parts:
        return Estimate(number(value), number(None), number(None))
    return Estimate(number(parts.get("value")), number(parts.get("lower")), number(parts.get("upper")))


def _bin(value: Mapping[str, Any]) -> Bin:
    """A bin of a reliability curve."""
    return Bin(*(number(value.get(key)) for key in ("mean_predicted", "observed", "lower", "upper", "count")))


def _distinct(entries: list[Entry]) -> tuple[Entry, ...]:
    """Tell apart what has the same task, method and group.

    Two prediction files of one evaluation get the file's name added to their method; two evaluations get their name
    added to the task.
    """
    methods = _doubled(entries, lambda e: (e.evaluation, e.task, e.method, e.group), lambda e: e.file)
    entries = [
        replace(e, method=f"{e.method} {e.file.removesuffix('.parquet')}")
        if (e.evaluation, e.task, e.method) in methods
        else e
        for e in entries
    ]
    tasks = {key[0] for key in _doubled(entries, lambda e: (e.task, e.method, e.group), lambda e: e.evaluation)}
    return tuple(replace(e, task=f"{e.task} · {e.evaluation}") if e.task in tasks else e for e in entries)


def _doubled(
    entries: list[Entry], key: Callable[[Entry], tuple[str, ...]], source: Callable[[Entry], str]
) -> set[tuple[str, ...]]:
    """Keys, less their group, that come from more than one source."""
    first: dict[tuple[str, ...], str] = {}
    return {key(e)[:-1] for e in entries if first.setdefault(key(e), source(e)) != source(e)}


def _evaluation_name(path: Path, folder: Path) -> str:
    """Name of an evaluation: of its file or, for `evaluation.json` in a folder of its own, of that folder."""
    is_in_own_folder = path.stem == "evaluation" and path.parent != folder
    return path.parent.relative_to(folder).as_posix() if is_in_own_folder else path.relative_to(folder).stem
