"""Tasks written for ACES: `es-aces` finds the cohort, and what the model has to be asked is read from the file."""

import re
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import yaml

from sojourn.errors import TaskError, describe
from sojourn.events import meds
from sojourn.events.units import marked_shards, read_rules, unmarked
from sojourn.tasks.cohort import Attrition
from sojourn.tasks.outcomes import OUTCOME_PREFIX, EventOutcome, derive_outcomes, matching_codes, outcomes
from sojourn.tasks.reading import mapped_events

__all__ = ["check_aces", "label_with_aces"]

_SECTIONS = {"predicates", "trigger"}
"""What every ACES file has."""
_DEATH = "MEDS_DEATH"
_ROW = ["subject_id", "prediction_time"]
_LABEL_TYPES: dict[str, Any] = {
    "subject_id": pl.Int64,
    "prediction_time": pl.Datetime("us"),
    "boolean_value": pl.Boolean,
}


def label_with_aces(config: Path, dataset: Path) -> tuple[pl.DataFrame, list[Attrition], dict[str, Any]]:
    """Extract an ACES cohort from a MEDS data set.

    Predicates may name local codes, shared concepts (`CONCEPT//lactate`, values in the concept's unit) and outcomes
    (`OUTCOME//death`). Labels of the source that no predicate names are kept from ACES, so that they cannot count as
    events.

    Returns
    -------
    labels : polars.DataFrame
        `subject_id, prediction_time, boolean_value`.
    attrition : list[Attrition]
        Trigger events, and predictions in the cohort.
    described : dict
        The task's metadata. `outcomes` is null unless the label window is a fixed time, or the rest of the record,
        right after the prediction and the label a set of codes: only such a question can be asked without simulation.

    Raises
    ------
    TaskError
        If ACES cannot read the file, or it lacks a label or an index timestamp.
    """
    task = check_aces(config)
    table, rules = meds.read_codes(dataset), read_rules(dataset)
    parts = [_extract(config, shard, rules.codes) for _, shard in marked_shards(dataset, rules)]
    rows = pl.concat([part for part, _ in parts])
    labels = rows.select(*_ROW, "boolean_value").unique().sort(_ROW)
    num_twice = labels.height - labels.n_unique(_ROW)
    if num_twice:
        msg = f"{config} must give each prediction one label; {num_twice} of {labels.height} have two."
        raise TaskError(msg)
    attrition = [
        Attrition("triggered", sum(step.num_rows for _, step in parts), sum(step.num_subjects for _, step in parts)),
        Attrition("in cohort", labels.height, labels["subject_id"].n_unique()),
    ]
    question = _question(task, _all_codes(dataset, table)) if rows["is_adjacent"].all() else None
    described = {
        "name": config.stem,
        "description": f"ACES task {config.name}",
        "outcomes": question.outcomes if question else None,
        "horizon_hours": question.horizon_hours if question else None,
        "until": "record_end" if question and question.horizon_hours is None else None,
        "anchor": task.trigger.predicate,
    }
    return labels, attrition, described


def check_aces(config: Path) -> Any:
    """The ACES task of a file, which is read before any data are.

    Raises
    ------
    TaskError
        If there is no such file, it is something else, ACES cannot read it, or it lacks a label or an index timestamp.
    """
    if not config.is_file():
        msg = f"task must be an ACES file where it ends in .yaml; {config} is not there. See docs/tasks.md."
        raise TaskError(msg)
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        msg = f"{config} must be a YAML file; reading it gave {type(error).__name__}. Correct the file."
        raise TaskError(msg) from error
    lacking = sorted(_SECTIONS - (content.keys() if isinstance(content, dict) else set()))
    if lacking:
        msg = f"{config} must be a task file of ACES; it has no {' and no '.join(lacking)}. See docs/tasks.md."
        raise TaskError(msg)
    task = _load(config)
    if not task.label_window or not task.index_timestamp_window:
        msg = f"{config} must mark a label and an index_timestamp in its windows. See ACES's documentation."
        raise TaskError(msg)
    return task


class _Question(NamedTuple):
    """What the label asks, where it is of a simple form."""

    outcomes: list[str]
    horizon_hours: float | None


def _load(config: Path) -> Any:
    """An ACES task; raises `TaskError` for a file that ACES does not read."""
    from aces.config import TaskExtractorConfig

    try:
        return TaskExtractorConfig.load(config_path=config)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        msg = f"{config} must be a task file that ACES reads; {type(error).__name__}: {error}"
        raise TaskError(msg) from error


def _extract(config: Path, shard: pl.LazyFrame, table: pl.DataFrame) -> tuple[pl.DataFrame, Attrition]:
    """Run ACES on one shard: labels with `is_adjacent` (the label window starts at the prediction), and triggers."""
    from aces.predicates import get_predicates_df
    from aces.query import query
    from omegaconf import DictConfig

    # es-aces 0.7.3: a query moves the offsets of the windows of its task, so that a task serves for one query only.
    task = _load(config)
    empty = pl.DataFrame(schema={**_LABEL_TYPES, "is_adjacent": pl.Boolean})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.parquet"
        _view(shard, table, task).write_parquet(path)
        try:
            predicates = get_predicates_df(task, DictConfig({"path": str(path), "standard": "meds", "ts_format": None}))
            found = query(task, predicates)
        except (ValueError, KeyError, pl.exceptions.PolarsError) as error:
            msg = f"{config} must be a task that ACES can extract; {describe(error)}"
            raise TaskError(msg) from error
    triggers = predicates.filter((pl.col(task.trigger.predicate) > 0) & pl.col("timestamp").is_not_null())
    attrition = Attrition("triggered", triggers.height, triggers["subject_id"].n_unique())
    if found.is_empty():
        return empty, attrition
    side = "end" if task.windows[task.label_window].root_node == "start" else "start"
    window = pl.col(f"{task.label_window}.{side}_summary")
    labels = found.select(
        "subject_id",
        pl.col("index_timestamp").cast(pl.Datetime("us")).alias("prediction_time"),
        boolean_value=pl.col("label") > 0,
        is_adjacent=window.struct.field("timestamp_at_start") == pl.col("index_timestamp"),
    )
    return labels.cast(dict(empty.schema)), attrition


def _view(shard: pl.LazyFrame, table: pl.DataFrame, task: Any) -> pl.DataFrame:
    """What ACES sees of a shard: its rows, and beside them shared concepts and outcomes that a predicate names."""
    raw = shard.with_columns(pl.col("code").cast(pl.String)).with_columns(unmarked()).collect()
    mapped = mapped_events(shard, table)
    derived = derive_outcomes(mapped)
    added = pl.concat([mapped.filter(pl.col("code").str.starts_with("CONCEPT//")), derived])
    named = _named(task, set(added["code"].unique()))
    raw_codes = set(raw["code"].unique())
    targets = set(table.filter(pl.col("target_only"))["code"]) | {c for c in raw_codes if c.startswith(OUTCOME_PREFIX)}
    hidden = targets - _named(task, raw_codes)
    added = added.filter(pl.col("code").is_in(named - raw_codes)).cast({"numeric_value": raw.schema["numeric_value"]})
    view = pl.concat([raw.filter(~pl.col("code").is_in(hidden)), added], how="diagonal")
    return view.sort("subject_id", "time", maintain_order=True, nulls_last=False)


def _named(task: Any, codes: set[str]) -> set[str]:
    """Those of `codes` that some plain predicate names."""
    return {code for predicate in task.plain_predicates.values() for code in codes if _matches(predicate.code, code)}


def _matches(pattern: str | dict[str, Any], code: str) -> bool:
    """Whether an ACES code specification takes a code."""
    if isinstance(pattern, str):
        return code == pattern
    if "any" in pattern:
        return code in pattern["any"]
    return re.search(pattern["regex"], code) is not None


def _question(task: Any, codes: dict[str, str]) -> _Question | None:
    """Outcome codes and horizon of the label, None where the file asks something that is not of that form."""
    window = task.windows[task.label_window]
    if window.root_node != "start" or window.start_inclusive or window.start_endpoint_expr is not None:
        return None
    end = window.end_endpoint_expr
    size = getattr(end, "window_size", None)
    if size is None and getattr(end, "end_event", None) != "_RECORD_END":
        return None
    found = _outcome_codes(task, window.label, codes)
    if not found:
        return None
    asked = _as_outcome(found, set(codes.values()))
    return _Question(sorted(asked), None if size is None else size / timedelta(hours=1))


def _as_outcome(found: set[str], known: set[str]) -> set[str]:
    """The outcome that a set of codes means, if there is one: a network is trained to be asked for outcomes.

    The standard's code of death stands for death however a data set records it.
    """
    for outcome in outcomes().values():
        if isinstance(outcome, EventOutcome):
            shown = set(matching_codes(sorted(known), outcome.codes))
            if found == shown or (_DEATH in outcome.codes and _DEATH in found and found <= shown):
                return {outcome.code}
    return found


def _outcome_codes(task: Any, name: str, codes: dict[str, str]) -> set[str] | None:
    """Codes of a predicate that any event of some codes fulfils; None for any other predicate."""
    predicate = task.predicates.get(name)
    if predicate is None:
        return None
    if not predicate.is_plain:
        parts = [_outcome_codes(task, part, codes) for part in predicate.input_predicates]
        if not predicate.is_or or None in parts:
            return None
        return {code for part in parts if part for code in part}
    has_limit = predicate.value_min is not None or predicate.value_max is not None
    if has_limit or predicate.static or predicate.other_cols:
        return None
    return {shown for code, shown in codes.items() if _matches(predicate.code, code)}


def _all_codes(dataset: Path, table: pl.DataFrame) -> dict[str, str]:
    """Every code that a predicate can name, and its name in an event store."""
    seen = [
        frame.select("code").unique().collect()["code"].cast(pl.String) for _, frame in meds.iterate_shards(dataset)
    ]
    concepts = dict(table.filter(pl.col("concept").is_not_null()).select("code", "concept").iter_rows())
    raw = set(pl.concat(seen)) | set(table["code"])
    names = {code: f"CONCEPT//{concepts[code]}" if code in concepts else code for code in raw}
    names |= {name: name for name in names.values()}
    return names | {outcome.code: outcome.code for outcome in outcomes().values()}
