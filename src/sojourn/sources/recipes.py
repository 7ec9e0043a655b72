"""Recipes: how the rows of one raw table become events, said as expressions and run on whole batches."""

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

import polars as pl

from sojourn.sources.casts import is_beyond_numbers, parse_numeric
from sojourn.sources.records import MAX_CODE_LENGTH, SourceBatch, as_events, join_quarantined, quarantine
from sojourn.sources.tables import RawTables

MAX_LABEL_LENGTH = 40
"""Text answers up to this length are picked from lists and become part of the code; longer ones stay text only."""

Converted = tuple[pl.DataFrame, pl.DataFrame]
"""(events, quarantined) of one batch."""


class Emit(NamedTuple):
    """One kind of event that a row may give; each field is an expression over the batch."""

    code: pl.Expr
    """The code; a row where it is null gives no such event."""
    time: pl.Expr | None
    """When (datetime[us]); a row where it is null gives no such event. None for static facts."""
    value: pl.Expr | None = None
    """Number, in the unit that the code names."""
    text: pl.Expr | None = None
    """What was written, where it is more than the number."""
    bound: pl.Expr | None = None
    """``"<"`` or ``">"`` where the number is only a bound."""
    when: pl.Expr | None = None
    """Further condition; null counts as false."""


KnownT = TypeVar("KnownT")
"""What a source looked up before it reads the large tables (stays, deaths, site)."""


class Recipe(NamedTuple, Generic[KnownT]):
    """How to read one raw table."""

    table: str
    """Official name, such as ``icu/chartevents``."""
    convert: Callable[[pl.DataFrame, KnownT], Converted]
    """Maps a batch and what is known to (events, quarantined)."""
    required: tuple[str, ...]
    """Columns without which the table cannot be read: it is lost then."""
    optional: tuple[str, ...] = ()
    """Columns that may be missing; they are null then."""
    lost: str = ""
    """What goes missing without the table, for the warning."""
    why: str = ""
    """What does not work without the table, if nothing does: then it is needed."""

    def stream(self, tables: RawTables, known: KnownT, *, found_as: str | None = None) -> Iterator[SourceBatch]:
        """Batches of this table; `found_as` is the file's name where it differs from the official one."""
        batches = tables.stream(
            found_as or self.table,
            lambda frame: self.convert(frame, known),
            self.required,
            self.optional,
            lost=self.lost,
            why=self.why,
        )
        return (batch._replace(table=self.table) for batch in batches)


def convert(
    frame: pl.DataFrame,
    emits: Sequence[Emit],
    *,
    site: pl.Expr,
    subject: pl.Expr,
    reject: Sequence[tuple[str, pl.Expr]] = (),
) -> Converted:
    """Turn a batch into events and the rows that gave none.

    Parameters
    ----------
    frame : raw rows with `row`; helper columns begin with ``_`` and are left out of the quarantine's records.
    emits : the kinds of events that a row may give.
    site, subject : expressions for the site's name and the subject's id (i64).
    reject : (reason, condition) pairs; the first that holds sets the row aside.

    Returns
    -------
    (events, quarantined). Every row is in exactly one of them: rows without a subject are set aside as
    ``no_subject``, rows of which no event has a time as ``no_time`` and other rows without an event as ``empty_row``.
    """
    refusals = [("no_subject", subject.is_null()), *reject]
    reason = pl.coalesce(pl.when(condition).then(pl.lit(word)) for word, condition in refusals)
    marked = frame.with_columns(_reason=reason, _subject=subject, _site=site)
    kept = _whole(marked.filter(pl.col("_reason").is_null()))
    events = as_events(*(_events(kept, emit) for emit in emits))
    silent = kept.filter(~pl.col("row").is_in(events.get_column("row").unique().implode()))
    times = [emit.time for emit in emits if emit.time is not None]
    timeless = pl.all_horizontal(time.is_null() for time in times) if times else pl.lit(value=False)
    why = pl.when(timeless).then(pl.lit("no_time")).otherwise(pl.lit("empty_row"))
    return events, join_quarantined(
        quarantine(marked.filter(pl.col("_reason").is_not_null()), pl.col("_reason")), quarantine(silent, why)
    )


def _whole(frame: pl.DataFrame) -> pl.DataFrame:
    """Structs in one piece: filtering with several threads leaves pieces, and polars 1.44 panics masking those."""
    return frame.rechunk() if any(dtype == pl.Struct for dtype in frame.dtypes) else frame


def _events(kept: pl.DataFrame, emit: Emit) -> pl.DataFrame:
    """The rows' events of one kind."""
    if emit.when is not None:
        kept = _whole(kept.filter(emit.when))
    optional = {"numeric_value": emit.value, "text_value": emit.text, "bound": emit.bound}
    parts = {name: column for name, column in optional.items() if column is not None}
    time = pl.lit(None, pl.Datetime("us")) if emit.time is None else emit.time
    events = kept.select("row", subject_id="_subject", time=time, code=emit.code, site="_site", **parts)
    return events.filter(pl.col("code").is_not_null(), pl.lit(emit.time is None) | pl.col("time").is_not_null())


def code_of(*parts: str | pl.Expr) -> pl.Expr:
    """Join parts to a code with ``//``; null parts are left out, and a code ends after 200 characters.

    Text that people wrote goes through `label` first.

    Examples
    --------
    >>> frame = pl.DataFrame({"id": ["50813", "51463"], "unit": ["mmol/L", None]})
    >>> frame.select(code=code_of("LAB", pl.col("id"), pl.col("unit")))["code"].to_list()
    ['LAB//50813//mmol/L', 'LAB//51463']
    """
    columns = [pl.lit(part) if isinstance(part, str) else part.cast(pl.String) for part in parts]
    return pl.concat_str(columns, separator="//", ignore_nulls=True).str.slice(0, MAX_CODE_LENGTH)


def code_for(family: str, thing: pl.Expr, *details: str | pl.Expr) -> pl.Expr:
    """`code_of` where `thing` is known, else null: without it there is nothing to tell.

    Examples
    --------
    >>> frame = pl.DataFrame({"id": ["50813", None], "unit": ["mmol/L", "mg/dL"]})
    >>> frame.select(code=code_for("LAB", pl.col("id"), pl.col("unit")))["code"].to_list()
    ['LAB//50813//mmol/L', None]
    """
    return pl.when(thing.is_not_null()).then(code_of(family, thing, *details))


def label(text: pl.Expr) -> pl.Expr:
    """Text as one level of a code: one line, no ``//`` inside, nothing at its ends; empty text is null."""
    clean = text.cast(pl.String).str.replace_all(r"\s+", " ").str.replace_all(r"/{2,}", "/").str.strip_chars(" /")
    return pl.when(clean != "").then(clean)


def unit_of(text: pl.Expr) -> pl.Expr:
    """A unit as the last level of a code: as written, but ``/min`` is ``1/min`` and HTML's degree a degree.

    Examples
    --------
    >>> pl.select(unit_of(pl.Series(["mg/dL", "/min", "&#176;C", " "]))).to_series().to_list()
    ['mg/dL', '1/min', '°C', None]
    """
    written = text.cast(pl.String).str.strip_chars().str.replace("&#176;", "°", literal=True)
    return label(written.str.replace(r"^/", "1/"))


def path_levels(path: pl.Expr, separator: str) -> pl.Expr:
    """A path of labels as levels of a code: ``renal|dialysis`` becomes ``renal//dialysis``."""
    levels = path.cast(pl.String).str.split(separator).list.eval(label(pl.element())).list.drop_nulls()
    joined = levels.list.join("//")
    return pl.when(joined != "").then(joined)


def answer(text: pl.Expr, number: pl.Expr) -> pl.Expr:
    """The text as a level of the code where it is an answer from a list: not a number, not even one such as NaN, and
    short."""
    short = label(text).str.strip_suffix(".")
    # Most rows have a number, and patterns are slow.
    is_beyond = is_beyond_numbers(pl.when(number.is_null()).then(text))
    is_answer = number.is_null() & short.str.len_chars().is_between(1, MAX_LABEL_LENGTH) & ~is_beyond
    return pl.when(is_answer).then(short)


def measured(frame: pl.DataFrame, number: str | None, text: str) -> pl.DataFrame:
    """Add `_number`, `_bound` and `_text`: what was measured and, where it says more than that, what was written.

    Parameters
    ----------
    frame : raw rows.
    number : column with the number where the raw table has one; it goes before what the text says.
    text : column with what was written.
    """
    written = pl.col(text).cast(pl.String)
    given = pl.lit(None, pl.Float64) if number is None else pl.col(number).cast(pl.Float64, strict=False)
    given = pl.when(given.is_finite()).then(given)
    plain = written.cast(pl.Float64, strict=False)
    frame = frame.with_columns(_given=given, _plain=pl.when(plain.is_finite()).then(plain))
    # Reading text by patterns is slow, so only what is not plainly a number goes through it.
    parsed = parse_numeric(pl.when(pl.col("_plain").is_null()).then(written))
    return (
        frame.with_columns(_parsed=parsed)
        .with_columns(
            _number=pl.coalesce("_given", "_plain", pl.col("_parsed").struct.field("number")),
            _bound=pl.col("_parsed").struct.field("bound"),
            _text=pl.when(pl.col("_plain").is_null()).then(written),
        )
        .drop("_given", "_plain", "_parsed")
    )


def first_of(*columns: str) -> pl.Expr:
    """True at the first row of the batch with these values: for what a table repeats on several rows."""
    return pl.struct(columns).is_first_distinct()
