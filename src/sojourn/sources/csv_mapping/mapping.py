"""The shape of a mapping: which columns of a hospital's own tables are whose events, when, and what they mean."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

__all__ = ["Birth", "CodeMeaning", "Condition", "Event", "FileFormat", "Mapping", "Sex", "Stay", "Table", "Time"]

MICROS = {
    "milliseconds": 1_000,
    "seconds": 1_000_000,
    "minutes": 60_000_000,
    "hours": 3_600_000_000,
    "days": 86_400_000_000,
}
"""Unit of an offset -> microseconds."""


def _listed(value: Any) -> Any:
    """One word stands for a list of one."""
    return [value] if isinstance(value, str) else value


def _as_column(value: Any) -> Any:
    """The name of a column stands for ``{column: NAME}``."""
    return {"column": value} if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class _Strict(BaseModel):
    """Unknown fields are refused: a misspelt one would be lost silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Condition(_Strict):
    """Rows whose column has one of some words, or none of them; an empty cell never fits."""

    column: str
    one_of: Words | None = Field(default=None, alias="is")
    none_of: Words | None = Field(default=None, alias="is_not")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.one_of is None) == (self.none_of is None):
            msg = "a condition must have exactly one of is and is_not."
            raise ValueError(msg)
        return self


class Time(_Strict):
    """When something was: a written time, or an offset since another time. A column's name alone is enough."""

    column: str | None = None
    format: Words | None = None
    """How times are written (strptime); None: the file's `time_format`, else ISO 8601."""
    day: Literal["start", "end"] = "end"
    """Where a date without a time of day stands: at its end, so that no morning knows its evening, or its start."""
    zone: str | None = None
    """IANA zone that the times are written in, where it is not that of the data set."""
    unit: Literal["milliseconds", "seconds", "minutes", "hours", "days"] | None = None
    """Unit of an offset."""
    since: Annotated["Time | None", BeforeValidator(_as_column)] = None
    """What an offset counts from."""
    at: datetime | None = None
    """A fixed time instead of a column, as an anchor of offsets."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.column is None) == (self.at is None):
            msg = "a time must have exactly one of column and at."
            raise ValueError(msg)
        if (self.unit is None) != (self.since is None):
            msg = "an offset must have both unit and since; a written time has neither."
            raise ValueError(msg)
        return self


When = Annotated[Time, BeforeValidator(_as_column)]


class Death(Time):
    """Time of death, in all rows that have one or in those that fit a condition."""

    when: Condition | None = None


class Birth(_Strict):
    """Birth by date, by year (1 July is meant then), or by age in years at some time."""

    date: When | None = None
    year: str | None = None
    age: str | None = None
    at: When | None = None
    """When the age was so."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(part is not None for part in (self.date, self.year, self.age)) != 1:
            msg = "birth must have exactly one of date, year and age."
            raise ValueError(msg)
        if (self.age is None) != (self.at is None):
            msg = "birth must have age together with at, the time at which the age was so."
            raise ValueError(msg)
        return self


class Sex(_Strict):
    """The column with the sex, and which of its words mean F and M."""

    column: str
    values: dict[str, str] = {}


class Stay(_Strict):
    """A stay in the hospital or the ICU: admission and discharge."""

    start: When
    end: When | None = None
    type: str | None = None
    """Column with the kind of admission or the ward."""
    died: Condition | None = None
    """Rows whose patient died in the stay; without it discharges do not say."""


class Event(_Strict):
    """One kind of event that each row may give, or one for each of several columns."""

    code: str | None = None
    """Levels separated by ``//``, with columns in braces: ``LAB//{item}//{unit}``."""
    wide: dict[str, str] | None = None
    """Column with a value -> its code, for tables with one column for each variable."""
    time: When | None = None
    static: bool = False
    """A fact that has no time."""
    value: str | None = None
    """Column with the number, or with text where there is none."""
    text: str | None = None
    """Column with what was written beside the number."""
    end: When | None = None
    end_code: str | None = None
    """Code of a second event at `end`, such as ``INFUSION_END//{drug}``."""
    when: Condition | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.code is None) == (self.wide is None):
            msg = "an event must have exactly one of code and wide."
            raise ValueError(msg)
        if self.wide is not None and self.value is not None:
            msg = "an event with wide must have no value: the columns of wide are the values."
            raise ValueError(msg)
        if (self.time is None) != self.static:
            msg = "an event must have a time, or static: true."
            raise ValueError(msg)
        if (self.end is None) != (self.end_code is None):
            msg = "an event must have both end and end_code, or neither."
            raise ValueError(msg)
        for code in self.codes():
            _check_code(code)
        return self

    def codes(self) -> list[str]:
        """All code templates of the event."""
        own = [] if self.code is None else [self.code]
        return [*own, *(self.wide or {}).values(), *([] if self.end_code is None else [self.end_code])]


def _check_code(code: str) -> None:
    family = code.split("//")[0]
    if not family or "{" in family:
        msg = f"a code must begin with a fixed word such as LAB//{{item}}; got {code!r}."
        raise ValueError(msg)
    if family == "CONCEPT":
        msg = f"a code must be the hospital's own; got {code!r}. Say what it means under codes."
        raise ValueError(msg)
    if re.sub(r"\{[^{}]+\}", "", code).count("{") or code.count("{") != code.count("}"):
        msg = f"a code must have the names of columns in pairs of braces; got {code!r}."
        raise ValueError(msg)


def _check_quote(quote: str) -> str:
    if quote != "none" and (len(quote) != 1 or not quote.isascii()):
        msg = f"quote must be one character, or none; got {quote!r}."
        raise ValueError(msg)
    return quote


class FileFormat(_Strict):
    """How a file is written; what is None here comes from `Mapping.defaults`, else from the file's name."""

    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    encoding: str | None = None
    quote: Annotated[str, AfterValidator(_check_quote)] | None = None
    """Character around fields that hold a separator; ``none``: a quotation mark is a character like others."""
    decimal: Literal[".", ","] | None = None
    nulls: Words | None = None
    """Words that mean an empty cell."""
    time_format: Words | None = None


class Table(FileFormat):
    """One table: a file, or several of the same columns."""

    file: str
    """Path from the folder of the tables; ``*`` stands for any text."""
    key: str | None = None
    """Column by which other tables join this one."""
    join: dict[str, str] = {}
    """Other table -> column of this table with its key; its columns are then called ``TABLE.COLUMN``."""
    subject: str | None = None
    site: str | None = None
    """Columns with the patient and the hospital, where they are not the mapping's."""
    birth: Birth | None = None
    sex: Annotated[Sex | None, BeforeValidator(_as_column)] = None
    death: Annotated[Death | None, BeforeValidator(_as_column)] = None
    hospital_stay: Stay | None = None
    icu_stay: Stay | None = None
    static: dict[str, str] = {}
    """Code of a fact without a time -> its column."""
    events: tuple[Event, ...] = ()


class CodeMeaning(_Strict):
    """What one code means, and the unit of its numbers; in the concept's unit one is ``value * scale + offset``."""

    code: str
    concept: str | None = None
    unit: str | None = None
    scale: float | None = None
    offset: float | None = None
    description: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.concept is None and (self.scale is not None or self.offset is not None):
            msg = f"code {self.code} must have a concept to have a scale or offset."
            raise ValueError(msg)
        return self


class Subject(_Strict):
    """The column with the patient."""

    column: str
    ids: Literal["integer", "text"] = "integer"
    """Whole numbers are kept; text becomes a number that is always the same for the same text."""


class Mapping(_Strict):
    """Everything that one YAML file says."""

    site: str | None = None
    """Name of the hospital; None: the name of the source."""
    site_column: str | None = None
    """Column with the hospital, where the tables hold several."""
    subject: Annotated[Subject, BeforeValidator(_as_column)]
    time_zone: str | None = None
    """IANA zone of the data set's times; times that carry or name another zone are brought to it."""
    folder: str | None = None
    """Folder of the tables, where it is not that of the mapping."""
    defaults: FileFormat = FileFormat()
    tables: dict[str, Table] = Field(min_length=1)
    codes: tuple[CodeMeaning, ...] = ()
    """What codes mean."""
    codes_file: str | None = None
    """CSV file that says the same, with the columns code, concept, unit, scale, offset, description."""
