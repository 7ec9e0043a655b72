"""Tasks written as a phrase: `first(lactate > 4 mmol/L, 24h)` asks whether a value comes above 4 within 24 hours.

first(CONDITION [or CONDITION]..., HORIZON [, OPTION]...)

CONDITION   CONCEPT COMPARISON NUMBER [UNIT], such as `map < 60`, or the name of a built-in outcome
HORIZON     a number with min, h or d
OPTION      every 12h | at 24h      when predictions are made (every 12h)
            from 12h, until 168h    first and last of them
            clean 24h | ever | no   nobody is asked who has had the outcome within this time (the horizon)
            of icu | hospital | record   what the hours are counted from (icu)
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import polars as pl
from pydantic import TypeAdapter, ValidationError

from sojourn.concepts.tables import concept_table
from sojourn.errors import TaskError, problems
from sojourn.tasks.definitions import Schedule, Task
from sojourn.tasks.outcomes import Outcome, ValueOutcome, outcomes

__all__ = ["is_phrase", "outcomes_of", "parse_phrase"]

_EXAMPLE = "first(lactate > 4 mmol/L, 24h)"
_HOURS = {"min": 1 / 60, "h": 1.0, "d": 24.0}
_LIMITS = {">": "above", ">=": "at_least", "<": "below", "<=": "at_most"}
_WORDS = {"above": "gt", "at_least": "ge", "below": "lt", "at_most": "le"}
_SIGNS = {"≥": ">=", "≤": "<="}
_ANCHORS = {"icu": "icu_admission", "hospital": "hospital_admission", "record": "record_start"}
_OPTIONS = {
    "every": "'every 12h' or 'at 24h'",
    "at": "",
    "from": "'from 12h'",
    "until": "'until 168h'",
    "clean": "'clean 24h' (or ever, or no)",
    "of": "'of icu' (or hospital, or record)",
}
_USUAL = {"every": "12h", "from": "12h", "until": "168h"}
_CONDITION = re.compile(
    r"(?P<concept>[a-z][\w/]*)\s*(?P<sign>[<>]=?|[≥≤])\s*(?P<number>-?\d+(?:\.\d+)?)\s*(?P<unit>\S.*)?"
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(min|h|d)")
_SHAPE = re.compile(r"\s*first\s*\((.*)\)\s*", re.DOTALL)


def is_phrase(text: str) -> bool:
    """Whether a task is meant as a phrase.

    Examples
    --------
    >>> is_phrase("first(lactate > 4, 24h)"), is_phrase("death-24h")
    (True, False)
    """
    return re.match(r"\s*\w+\s*\(", text) is not None


def parse_phrase(text: str, stored: Mapping[str, Outcome] | None = None) -> Task:
    """Read a phrase as a task.

    A condition that is a built-in outcome, or one that the store was built with, becomes that outcome, so that a run
    can be asked about it with one query. Other conditions become outcomes of the task's own, with the plausible range
    of their concept.

    Parameters
    ----------
    text : the phrase.
    stored : definitions by name that a store was built with beside the built-in ones; those of values can be meant.

    Raises
    ------
    TaskError
        If the phrase is none; the message says what is wrong in it and what would be right.

    Examples
    --------
    >>> task = parse_phrase("first(lactate > 4 or map < 55, 12h, every 6h)")
    >>> task.name, task.outcomes, task.horizon_hours
    ('lactate-gt-4-or-map-lt-55-12h', ('lactate_gt_4', 'map_lt_55'), 12.0)
    """
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        msg = f"task must be a phrase such as '{_EXAMPLE}'; got {text!r}."
        raise TaskError(msg)
    said, *rest = (part.strip() for part in shape[1].split(","))
    if not rest:
        msg = f"a phrase must say within which time, as in '{_EXAMPLE}'; got {text!r}."
        raise TaskError(msg)
    horizon = _hours(rest[0], "the horizon")
    known = outcomes() | {name: one for name, one in (stored or {}).items() if isinstance(one, ValueOutcome)}
    conditions = [_condition(part.strip(), known) for part in re.split(r"\s+or\s+", said)]
    schedule, clean = _options(rest[1:], horizon)
    slug = "-or-".join(condition.name for condition in conditions).replace("_", "-")
    return Task(
        name=f"{slug}-{horizon:g}h".replace("+", ""),  # 1e+06 of a very long horizon
        description=f"{' or '.join(condition.description for condition in conditions)}, within {horizon:g} h",
        outcomes=tuple(condition.name for condition in conditions),
        own=tuple(one for one in conditions if isinstance(one, ValueOutcome) and one.name not in outcomes()),
        horizon_hours=horizon,
        clean_hours=clean,
        at=schedule,
    )


def outcomes_of(task: Mapping[str, Any]) -> dict[str, Outcome]:
    """The outcomes that the metadata of a label file can name: the built-in ones, and the task's own.

    Raises
    ------
    TaskError
        If a definition of the task's own is wrong.
    """
    try:
        own: list[Outcome] = TypeAdapter(list[Outcome]).validate_python(task.get("definitions") or [])
    except ValidationError as error:
        msg = f"the definitions of task {task.get('name')} must be outcomes; {problems(error)}. Label again."
        raise TaskError(msg) from error
    return outcomes() | {outcome.name: outcome for outcome in own}


def _condition(text: str, known: Mapping[str, Outcome]) -> Outcome:
    """The outcome that a condition means: a known one where there is an equal one."""
    if text in known:
        return known[text]
    found = _CONDITION.fullmatch(text)
    if found is None:
        near = get_close_matches(text, list(known), 3, 0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        msg = f"a condition must be like 'lactate > 4 mmol/L', or a built-in outcome; got {text!r}.{hint}"
        raise TaskError(msg)
    about = _concept(found["concept"])
    limit = _LIMITS[_SIGNS.get(found["sign"], found["sign"])]
    value = _in_unit(float(found["number"]), (found["unit"] or "").strip(), about)
    if not about["min"] <= value <= about["max"]:
        msg = (
            f"the threshold must lie in the plausible range of {about['name']}, {about['min']:g} to {about['max']:g} "
            f"{about['unit'] or ''}".rstrip()
            + f"; got {found['number']} {found['unit'] or ''}".rstrip()
            + "."
        )
        raise TaskError(msg)
    return _value_outcome(about, limit, value, known)


def _value_outcome(about: dict[str, Any], limit: str, value: float, known: Mapping[str, Outcome]) -> Outcome:
    """The outcome of a value of a concept beyond a limit."""
    code = f"CONCEPT//{about['name']}"
    number = f"{value:.6g}"
    for one in known.values():
        if isinstance(one, ValueOutcome) and one.codes == [code] and getattr(one, limit) == float(number):
            return one
    slug = re.sub(r"[^a-z0-9]+", "_", about["name"]) + f"_{_WORDS[limit]}_" + number.replace(".", "p")
    sign = next(sign for sign, word in _LIMITS.items() if word == limit)
    return ValueOutcome(
        kind="value",
        name=re.sub(r"[^a-z0-9_]", lambda mark: {"-": "minus", "+": ""}[mark[0]], slug),
        description=f"{about['description']} {sign} {number} {about['unit'] or ''}".rstrip(),
        codes=[code],
        plausible=(about["min"], about["max"]),
        **{limit: float(number)},
    )


def _concept(name: str) -> dict[str, Any]:
    """The row of a concept that has values."""
    table = concept_table().filter(pl.col("min").is_not_null() & pl.col("max").is_not_null())
    found = table.filter(pl.col("name") == name)
    if found.is_empty():
        near = get_close_matches(name, table["name"].to_list(), 3, 0.4)
        hint = f"Did you mean {' or '.join(near)}?" if near else "docs/concepts.md lists them."
        msg = f"a condition must name a shared concept that has values; got {name!r}. {hint}"
        raise TaskError(msg)
    return found.row(0, named=True)


def _in_unit(value: float, unit: str, about: dict[str, Any]) -> float:
    """A number in the concept's own unit."""
    from sojourn.concepts.units.known import find_unit, units_of

    if not unit or unit == about["unit"]:
        return value
    found = find_unit(about["name"], unit)
    if found is None:
        known = ", ".join(other.name for other in units_of(about["name"])) or about["unit"] or "no unit"
        msg = f"the threshold of {about['name']} must be in one of {known}; got {unit!r}. Convert it to one of them."
        raise TaskError(msg)
    return value * found.scale + found.offset


def _options(parts: list[str], horizon: float) -> tuple[Schedule, float | None]:
    """Schedule and clean hours of the options of a phrase."""
    said: dict[str, str] = {}
    for part in parts:
        word, _, value = part.partition(" ")
        if word not in _OPTIONS or word in said or not value.strip():
            msg = (
                f"after the horizon a phrase may have, once each, {', '.join(filter(None, _OPTIONS.values()))}; "
                f"got {part!r}. Example: first(lactate > 4, 24h, every 6h, until 72h)."
            )
            raise TaskError(msg)
        said[word] = value.strip()
    if "at" in said and {"every", "from", "until"} & set(said):
        msg = "a phrase must have either 'at' or 'every', 'from' and 'until'; got both. Leave one out."
        raise TaskError(msg)
    counted = said.get("of", "icu")
    if counted not in _ANCHORS:
        msg = f"'of' must be one of {', '.join(_ANCHORS)}; got {counted!r}."
        raise TaskError(msg)
    return _schedule(said, counted), _clean(said.get("clean"), horizon)


def _schedule(said: dict[str, str], counted: str) -> Schedule:
    """When predictions are made."""
    anchor = _ANCHORS[counted]
    if "at" in said:
        return Schedule(anchor=anchor, offsets_hours=(_hours(said["at"], "'at'"),))  # type: ignore[arg-type]
    every, first, last = (_hours(said.get(name, usual), f"'{name}'") for name, usual in _USUAL.items())
    if last < first:
        msg = f"'until' must not come before 'from'; got from {first:g} h until {last:g} h, when nobody is asked."
        raise TaskError(msg)
    return Schedule(anchor=anchor, every_hours=every, first_hours=first, max_hours=last)  # type: ignore[arg-type]


def _clean(said: str | None, horizon: float) -> float | None:
    """For how long nobody who is asked has had the outcome."""
    words = {None: horizon, "ever": float("inf"), "no": None}
    return words[said] if said in words else _hours(str(said), "'clean'")


def _hours(text: str, what: str) -> float:
    """Hours of a duration."""
    found = _DURATION.fullmatch(text)
    if found is None or float(found[1]) <= 0:
        msg = f"{what} must be a time such as 24h, 90min or 3d; got {text!r}."
        raise TaskError(msg)
    return float(found[1]) * _HOURS[found[2]]
