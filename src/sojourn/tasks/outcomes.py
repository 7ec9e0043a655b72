"""Outcome definitions, and the target-only events `OUTCOME//<name>` that they give on a table of events."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Annotated, Literal

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sojourn.errors import TaskError, problems

__all__ = [
    "FOLLOW_UP_END",
    "OUTCOME_PREFIX",
    "DerivedOutcome",
    "EventOutcome",
    "Outcome",
    "StartOutcome",
    "codes_read",
    "derive_outcomes",
    "hours",
    "matching_codes",
    "outcomes",
    "parse_outcomes",
    "running_until",
]

OUTCOME_PREFIX = "OUTCOME//"
#: Up to this event of a record its outcomes are known.
FOLLOW_UP_END = "OUTCOME//follow_up_end"

_KEYS = ["subject_id", "time"]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C: ten times as fast, and every command waits for it


def matching_codes(codes: Sequence[str], roots: Sequence[str]) -> list[str]:
    """Those of `codes` that are one of `roots` or lie below one.

    Examples
    --------
    >>> matching_codes(["ICU_DISCHARGE//DIED", "ICU_DISCHARGE//DIEDX"], ["ICU_DISCHARGE//DIED"])
    ['ICU_DISCHARGE//DIED']
    """
    exact, below = set(roots), tuple(f"{root}//" for root in roots)
    return [code for code in codes if code in exact or code.startswith(below)]


def hours(number: float) -> pl.Expr:
    """A duration of so many hours, to the microsecond."""
    return pl.duration(microseconds=round(number * 3_600_000_000))


class _Definition(BaseModel):
    """What all kinds of outcomes have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    """Name behind `OUTCOME//`."""
    description: str
    """In words, for tables and figures."""

    @property
    def code(self) -> str:
        """The code of the events that mark this outcome."""
        return OUTCOME_PREFIX + self.name

    def roots(self) -> list[str]:
        """The codes that the definition reads, each standing for all codes below it."""
        return []

    def evidence(self) -> list[str]:
        """The codes without which the outcome cannot be seen."""
        return self.roots()

    def times(self, events: pl.DataFrame) -> pl.DataFrame:
        """`subject_id, time` of the outcome in timed events that hold only codes below `roots()`."""
        return events.select(_KEYS).clear()


class EventOutcome(_Definition):
    """Any event of some codes."""

    kind: Literal["event"]
    codes: list[str] = Field(min_length=1)

    def roots(self) -> list[str]:
        return self.codes

    def times(self, events: pl.DataFrame) -> pl.DataFrame:
        return events.select(_KEYS)


class ValueOutcome(_Definition):
    """A measured value on one side of a threshold."""

    kind: Literal["value"]
    codes: list[str] = Field(min_length=1)
    plausible: tuple[float, float]
    """Values outside these limits are errors of measurement and never an outcome."""
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _one_threshold(self) -> "ValueOutcome":
        if sum(limit is not None for limit in self.limits()) != 1:
            msg = f"outcome {self.name} must have exactly one of above, at_least, below, at_most."
            raise ValueError(msg)
        return self

    def limits(self) -> tuple[float | None, ...]:
        """The threshold, in the place of its comparison: above, at_least, below, at_most."""
        return self.above, self.at_least, self.below, self.at_most

    def roots(self) -> list[str]:
        return self.codes

    def times(self, events: pl.DataFrame) -> pl.DataFrame:
        value = pl.col("numeric_value")
        crossed = pl.lit(value=True)
        if self.above is not None:
            crossed = value > self.above
        if self.at_least is not None:
            crossed = value >= self.at_least
        if self.below is not None:
            crossed = value < self.below
        if self.at_most is not None:
            crossed = value <= self.at_most
        return events.filter(value.is_between(*self.plausible) & crossed).select(_KEYS)


class RiseOutcome(_Definition):
    """A value that has risen by a factor over the first one since an event such as the admission."""

    kind: Literal["rise"]
    codes: list[str] = Field(min_length=1)
    factor: float = Field(gt=1)
    since: list[str] = Field(min_length=1)
    plausible: tuple[float, float]

    def roots(self) -> list[str]:
        return [*self.codes, *self.since]

    def evidence(self) -> list[str]:
        return self.codes

    def times(self, events: pl.DataFrame) -> pl.DataFrame:
        is_value = pl.col("code").is_in(matching_codes(events["code"].unique().to_list(), self.codes))
        # At one time the admission comes before the values.
        ordered = events.with_columns(is_value=is_value).sort(*_KEYS, "is_value", maintain_order=True)
        values = ordered.with_columns(stay=(~pl.col("is_value")).cum_sum().over("subject_id")).filter(
            pl.col("is_value") & pl.col("numeric_value").is_between(*self.plausible)
        )
        # Of several first values at one time the lowest counts, whatever their order in the file.
        first = pl.col("numeric_value").filter(pl.col("time") == pl.col("time").min()).min().over("subject_id", "stay")
        # The tolerance keeps 1.5 x 0.8 = 1.2 a rise in 32-bit numbers.
        return values.filter(pl.col("numeric_value") >= first * self.factor * (1 - 1e-6)).select(_KEYS)


class StartOutcome(_Definition):
    """The start of a treatment that has not run for some time."""

    kind: Literal["start"]
    treatments: list[str] = Field(min_length=1)
    """Codes whose `//start` and `//end` mark the treatment."""
    washout_hours: float = Field(gt=0)
    open_hours: float = Field(gt=0)

    def roots(self) -> list[str]:
        return [f"{treatment}//{mark}" for treatment in self.treatments for mark in ("start", "end")]

    def times(self, events: pl.DataFrame) -> pl.DataFrame:
        runs = running_until(events, self)
        before = pl.col("until").shift().over("subject_id")
        is_new = before.is_null() | (pl.col("time") - before >= hours(self.washout_hours))
        return runs.filter(pl.col("is_start") & is_new).select(_KEYS)


class GivenOutcome(_Definition):
    """An outcome whose events the source brings itself."""

    kind: Literal["given"]


class DerivedOutcome(_Definition):
    """An onset that `sojourn.concepts.derived` finds with its default settings."""

    kind: Literal["derived"]
    onset: str
    """Key of `sojourn.concepts.derived.ONSETS`."""

    @model_validator(mode="after")
    def _known(self) -> "DerivedOutcome":
        from sojourn.concepts.derived import ONSETS

        if self.onset not in ONSETS:
            msg = f"onset of outcome {self.name} must be one of {', '.join(ONSETS)}; got {self.onset}."
            raise ValueError(msg)
        return self

    def roots(self) -> list[str]:
        from sojourn.concepts.derived import ONSETS

        return list(ONSETS[self.onset].roots)

    def evidence(self) -> list[str]:
        from sojourn.concepts.derived import ONSETS

        return list(ONSETS[self.onset].needs)

    def times(self, events: pl.DataFrame) -> pl.DataFrame:
        from sojourn.concepts.derived import derive_onsets

        return derive_onsets(events, [self.onset])[self.onset]


Outcome = Annotated[
    EventOutcome | ValueOutcome | RiseOutcome | StartOutcome | DerivedOutcome | GivenOutcome,
    Field(discriminator="kind"),
]


class _File(BaseModel):
    """The shape of `outcomes.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    outcomes: list[Outcome]

    @model_validator(mode="after")
    def _unique(self) -> "_File":
        names = [outcome.name for outcome in self.outcomes]
        if len(set(names)) < len(names):
            msg = "outcome names must be unique."
            raise ValueError(msg)
        return self


def parse_outcomes(text: str, place: str = "outcomes.yaml") -> dict[str, Outcome]:
    """Read outcome definitions from YAML, by name.

    Raises
    ------
    TaskError
        If the text is no YAML or a definition is wrong; the message names the field.
    """
    try:
        parsed = _File.model_validate(yaml.load(text, Loader=_LOADER))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "it" if mark is None else f"line {mark.line + 1}"
        msg = f"{place} must hold outcome definitions in YAML; {line} cannot be read. Correct the file."
        raise TaskError(msg) from error
    except ValidationError as error:
        msg = f"{place} must hold outcome definitions; {problems(error)}. See docs/tasks.md."
        raise TaskError(msg) from error
    return {outcome.name: outcome for outcome in parsed.outcomes}


@cache
def outcomes() -> dict[str, Outcome]:
    """The built-in outcome definitions by name."""
    return parse_outcomes(resources.files("sojourn.tasks").joinpath("outcomes.yaml").read_text(encoding="utf-8"))


def running_until(events: pl.DataFrame, outcome: StartOutcome) -> pl.DataFrame:
    """When a treatment began, and until when it has run by then at the latest.

    Parameters
    ----------
    events
        `subject_id, time, code, numeric_value`; other codes are ignored. A start with a rate of 0 is an end.
    outcome
        Which treatment.

    Returns
    -------
    polars.DataFrame
        `subject_id, time, is_start, until`, one row per subject and time of a start or end, in order; `until` never
        decreases within a subject, and is the end of all runs that began up to `time`.
    """
    names = events["code"].unique().to_list()
    starts = matching_codes(names, [f"{treatment}//start" for treatment in outcome.treatments])
    ends = matching_codes(names, [f"{treatment}//end" for treatment in outcome.treatments])
    is_end = pl.col("code").is_in(ends) | (pl.col("numeric_value") == 0).fill_null(value=False)
    drug = ["subject_id", "drug"]
    marks = (
        events.filter(pl.col("code").is_in(starts + ends))
        .with_columns(is_start=~is_end, drug=pl.col("code").str.extract(r"^(.*?)//(?:start|end)(?://|$)", 1))
        # At one time the end of the old rate comes before the start of the new one.
        .sort(*drug, "time", "is_start", maintain_order=True)
        .with_columns(next=pl.col("time").shift(-1).over(drug), next_is_start=pl.col("is_start").shift(-1).over(drug))
    )
    limit = pl.col("time") + hours(outcome.open_hours)
    until_start = pl.min_horizontal(limit, pl.col("next").fill_null(limit))
    # A run that the source closed lasts as long as it says. An end after an end closes another, overlapping run.
    is_closed = ~pl.col("next_is_start").fill_null(value=True) & (pl.col("is_start") | (pl.col("next") <= limit))
    until = pl.when(is_closed).then("next").when("is_start").then(until_start).otherwise("time")
    return (
        marks.with_columns(until=until)
        .group_by(_KEYS)
        .agg(pl.col("is_start").any(), pl.col("until").max())
        .sort(_KEYS)
        .with_columns(pl.col("until").cum_max().over("subject_id"))
    )


def codes_read(codes: Sequence[str], definitions: Mapping[str, Outcome] | None = None) -> list[str]:
    """Those of `codes` that `derive_outcomes` looks at; events of others may be left out of what it is given.

    `definitions` are those that it is given, None for the built-in ones.

    Examples
    --------
    >>> codes_read(["CONCEPT//lactate", "CONCEPT//heart_rate", "OUTCOME//death"])
    ['CONCEPT//lactate', 'OUTCOME//death']
    """
    known = outcomes() if definitions is None else definitions
    roots = [root for outcome in known.values() for root in (outcome.code, *outcome.roots())]
    return matching_codes(codes, list(dict.fromkeys(roots)))


def derive_outcomes(events: pl.DataFrame, definitions: Mapping[str, Outcome] | None = None) -> pl.DataFrame:
    """Find outcomes in a table of events; suits `build_store(derive=...)`.

    Parameters
    ----------
    events
        `subject_id` i64, `time` datetime[us] (null: static, ignored), `code` (after concept mapping) and
        `numeric_value` (in the concept's unit), whole subjects, in any order.
    definitions
        The outcomes to find, by name; None: the built-in ones.

    Returns
    -------
    polars.DataFrame
        The new rows with the same four columns, sorted by subject, time and code; `numeric_value` is null. At most one
        row per subject, time and outcome, and none that `events` holds already, so that deriving twice adds nothing.

    Examples
    --------
    >>> from datetime import datetime
    >>> events = pl.DataFrame({"subject_id": [1], "time": [datetime(2020, 1, 1)], "code": ["CONCEPT//lactate"],
    ...                        "numeric_value": [4.5]})
    >>> derive_outcomes(events)["code"].to_list()
    ['OUTCOME//lactate_gt_4']
    """
    columns = [*_KEYS, "code", "numeric_value"]
    timed = events.select(columns).drop_nulls("time")
    parts = timed.partition_by("code", as_dict=True, maintain_order=True)
    by_code = {str(code): part for (code,), part in parts.items()}
    known = outcomes() if definitions is None else definitions
    found = _derived(by_code, [outcome for outcome in known.values() if isinstance(outcome, DerivedOutcome)])
    for outcome in known.values():
        used = [] if isinstance(outcome, DerivedOutcome) else matching_codes(list(by_code), outcome.roots())
        if used:
            times = outcome.times(pl.concat([by_code[code] for code in used])).unique()
            found.append(times.with_columns(code=pl.lit(outcome.code)))
    if not found:
        return timed.clear()
    there = [by_code[code] for code in by_code if code.startswith(OUTCOME_PREFIX)]
    derived = pl.concat(found)
    if there:
        derived = derived.join(pl.concat(there), on=[*_KEYS, "code"], how="anti", nulls_equal=True)
    value = pl.lit(None, dtype=timed.schema["numeric_value"]).alias("numeric_value")
    return derived.with_columns(value).select(columns).sort(*_KEYS, "code")


def _derived(by_code: Mapping[str, pl.DataFrame], wanted: Sequence[DerivedOutcome]) -> list[pl.DataFrame]:
    """Events of derived outcomes, all found in one pass; `by_code` holds timed events."""
    seen = [outcome for outcome in wanted if matching_codes(list(by_code), outcome.evidence())]
    if not seen:
        return []
    from sojourn.concepts.derived import derive_onsets

    roots = {root: None for outcome in seen for root in outcome.roots()}
    events = pl.concat([by_code[code] for code in matching_codes(list(by_code), list(roots))])
    found = derive_onsets(events, [outcome.onset for outcome in seen])
    unit = events.schema["time"]
    return [found[o.onset].select("subject_id", pl.col("time").cast(unit), code=pl.lit(o.code)) for o in seen]
