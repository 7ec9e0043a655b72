"""Stream the files of a compiled table as batches of events."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import polars as pl

from sojourn.errors import ConfigError, DataError
from sojourn.sources.casts import to_integer
from sojourn.sources.csv_mapping.compiling import Compiled, Dialect, Join, joined
from sojourn.sources.frames import frames_of, regroup
from sojourn.sources.identity import hashed
from sojourn.sources.recipes import Emit, convert, label
from sojourn.sources.records import SourceBatch, as_events
from sojourn.sources.unclosed import Malformed, describe_unclosed, quarantine_malformed

_BATCH_ROWS = 200_000


class Subjects:
    """Ids of patients as numbers; refuses two texts that give the same one."""

    def __init__(self, ids: str) -> None:
        self._is_text = ids == "text"
        self._text_of: dict[int, str] = {}

    def numbers(self, text: pl.Series) -> pl.Series:
        """Numbers (i64) of the ids; null where there is none.

        Raises
        ------
        ConfigError
            If none of the ids is a whole number, as the mapping says they are.
        DataError
            If two ids give the same number.
        """
        if self._is_text:
            unique = text.drop_nulls().unique()
            known = {one: self._number(one) for one in unique}
            return text.replace_strict(known, default=None, return_dtype=pl.Int64)
        numbers = text.to_frame("id").select(to_integer(pl.col("id"))).to_series()
        if numbers.null_count() == len(numbers) > text.null_count():
            msg = f"subject must hold whole numbers; none of {len(text):,} rows does. Say ids: text under subject."
            raise ConfigError(msg)
        return numbers

    def _number(self, text: str) -> int:
        number = hashed(text)
        if self._text_of.setdefault(number, text) != text:
            msg = (
                "ids of subjects must give different numbers; two of them give the same. Number the patients yourself."
            )
            raise DataError(msg)
        return number


def read_lookup(join: Join, warn: Callable[[str], None]) -> pl.DataFrame:
    """Columns that a table brings to others, one row for each key, held in memory."""
    columns, dialect = list(dict.fromkeys((join.key, *join.columns))), join.dialect
    frames = [clean(frame, dialect) for path in dialect.paths for frame in _frames(path, columns, dialect, warn)]
    whole = pl.concat(frames).drop("row") if frames else pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    whole = whole.filter(pl.col(join.key).is_not_null())
    found = whole.select(
        pl.col(join.key).alias(_key(join)), *(pl.col(c).alias(joined(join.table, c)) for c in join.columns)
    ).unique(_key(join), keep="first", maintain_order=True)
    if found.height < whole.height:
        extra = whole.height - found.height
        warn(f"table {join.table} has {extra:,} rows with a key that an earlier row has: the first counts")
    return found.with_columns(pl.lit(value=True).alias(_found(join)))


def stream(
    table: Compiled,
    lookups: dict[str, pl.DataFrame],
    subjects: Subjects,
    site: str | None,
    warn: Callable[[str], None],
) -> Iterator[SourceBatch]:
    """Batches of one table; rows are counted over all its files.

    Parameters
    ----------
    table : what to read.
    lookups : for each joined table what `read_lookup` gave.
    subjects : the numbering of patients, one for all tables.
    site : name of the hospital; with a column of hospitals, what stands before theirs.
    warn : called with a sentence for each file in which rows were swallowed.
    """
    start = 0
    for path in table.dialect.paths:
        malformed: list[Malformed] = []
        count = 0
        for frame in regroup(_frames(path, table.columns, table.dialect, warn, malformed), _BATCH_ROWS):
            count += frame.height
            numbered = frame.with_columns(pl.col("row") + pl.lit(start, pl.UInt64))
            events, quarantined = _convert(clean(numbered, table.dialect), table, lookups, subjects, site)
            yield SourceBatch(table.name, frame.height, events, quarantined)
        if malformed:
            yield SourceBatch(table.name, len(malformed), as_events(), quarantine_malformed(malformed, start=start))
        start += count + len(malformed)


def _frames(
    path: Path,
    columns: Sequence[str],
    dialect: Dialect,
    warn: Callable[[str], None],
    malformed: list[Malformed] | None = None,
) -> Iterator[pl.DataFrame]:
    """Frames of one file; warns at its end if rows were swallowed."""
    malformed = [] if malformed is None else malformed
    yield from frames_of(path, columns, malformed, dialect.text)
    if said := describe_unclosed(path.name, malformed, "Mend the quotation mark, or say quote: none."):
        warn(said)


def clean(frame: pl.DataFrame, dialect: Dialect) -> pl.DataFrame:
    """All columns but `row` as text without blanks at its ends; empty cells and the words for them are null."""
    exprs = []
    for name, dtype in frame.schema.items():
        if name == "row":
            continue
        column = pl.col(name)
        if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
            text = column.dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%d %H:%M:%S%.6f+0000")
        else:
            text = column.cast(pl.String)
        text = text.str.strip_chars()
        is_null = text.is_in(["", *dialect.nulls])
        exprs.append(pl.when(~is_null).then(text).alias(name))
    return frame.with_columns(exprs)


def _convert(
    frame: pl.DataFrame, table: Compiled, lookups: dict[str, pl.DataFrame], subjects: Subjects, site: str | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events of one cleaned batch, and the rows that gave none."""
    reject: list[tuple[str, pl.Expr]] = []
    unknown: list[tuple[str, pl.Series]] = []
    for join in table.joins:
        frame = frame.join(lookups[join.table], left_on=join.by, right_on=_key(join), how="left", maintain_order="left")
        reason, is_unknown = f"unknown_{join.table}", pl.col(_found(join)).is_null()
        reject.append((reason, is_unknown))
        unknown.append((reason, frame.filter(is_unknown)["row"]))
    who = subjects.numbers(frame.select(table.subject.alias("_who")).to_series())
    frame, emits = _prepare(frame.with_columns(who.alias("_who")), table.emits)
    times = [emit.time for emit in emits if emit.time is not None]
    if table.written_times and len(times) == len(emits):
        is_written = pl.any_horizontal(text.is_not_null() for text in table.written_times)
        is_unread = pl.all_horizontal(time.is_null() for time in times)
        reject.append(("unreadable_time", is_written & is_unread))
    hospital = pl.lit(site, pl.String)
    if table.site is not None:
        name = label(table.site)
        hospital = name if site is None else pl.concat_str(pl.lit(site), name, separator="-", ignore_nulls=True)
    events, quarantined = convert(frame, emits, site=hospital, subject=pl.col("_who"), reject=reject)
    for reason, rows in unknown:  # without the joined row there is often no patient: that is the better reason
        is_why = (pl.col("reason") == "no_subject") & pl.col("row").is_in(rows.implode())
        quarantined = quarantined.with_columns(reason=pl.when(is_why).then(pl.lit(reason)).otherwise("reason"))
    return events, quarantined


def _prepare(frame: pl.DataFrame, emits: Sequence[Emit]) -> tuple[pl.DataFrame, list[Emit]]:
    """Work out all parts of the events once; the events then name columns."""
    parts: dict[int, pl.Expr] = {}
    named = []
    for emit in emits:
        own = {name: part for name, part in emit._asdict().items() if part is not None}
        parts |= {id(part): part for part in own.values()}  # events of one row share the expression of their time
        named.append(emit._replace(**{name: pl.col(f"_part {id(part)}") for name, part in own.items()}))
    return frame.with_columns(part.alias(f"_part {key}") for key, part in parts.items()), named


def _key(join: Join) -> str:
    return f"_key of {join.table}"


def _found(join: Join) -> str:
    return f"_found in {join.table}"
