"""An existing MEDS data set: checked, brought to this layout, with the site and its own splits kept.

Also reads a folder of Parquet files (or one file) with `subject_id`, `time` and `code`.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from sojourn.errors import SchemaError
from sojourn.files import read_json
from sojourn.sources.casts import to_integer, to_number, to_time
from sojourn.sources.clocks import from_zoned
from sojourn.sources.records import EVENT_SCHEMA, SourceBatch, as_codes, as_events, quarantine
from sojourn.sources.tables import RawTables

_REQUIRED = ("subject_id", "time", "code")
_OPTIONAL = ("numeric_value", "text_value", "bound", "flag")
_OTHER_NUMBER = "value"
"""Name of the numbers where there is no `numeric_value`."""


class MedsCopy:
    """Source that copies a MEDS data set."""

    name = "meds"

    def read(self, raw: Path, *, site: str | None, warn: Callable[[str], None]) -> Iterator[SourceBatch]:
        """Yield each Parquet file as a table of its own."""
        metadata = _metadata(raw)
        site_column = next(iter(metadata.get("site_id_columns") or []), "site")
        default_site = site or metadata.get("dataset_name") or self.name
        tables, names = _find_tables(raw)
        for name in names:
            have = tables.columns(name)
            number = () if "numeric_value" in have else (_OTHER_NUMBER,)
            optional = [column for column in (*_OPTIONAL, *number, site_column) if column in have]
            extra = sorted(set(have) - set(_REQUIRED) - set(optional))
            if extra:
                warn(f"columns of {name} that are no part of the layout are not kept: {', '.join(extra)}")

            def transform(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
                return _convert(frame, site_column, site, default_site)

            yield from tables.stream(name, transform, _REQUIRED, optional, why="its events are not known")

    def codes(self, raw: Path) -> pl.DataFrame:
        """Descriptions that the data set brings."""
        path = raw / "metadata" / "codes.parquet"
        return as_codes(pl.read_parquet(path, glob=False)) if path.exists() else as_codes([])

    def splits(self, raw: Path) -> pl.DataFrame | None:
        """Splits that the data set brings."""
        path = raw / "metadata" / "subject_splits.parquet"
        return pl.read_parquet(path, glob=False, columns=["subject_id", "split"]) if path.exists() else None

    def finish(self, out: Path) -> None:
        """There is nothing beside the events."""


SOURCE = MedsCopy()


def _metadata(raw: Path) -> Mapping[str, Any]:
    """Content of ``metadata/dataset.json``; nothing where there is none."""
    path = raw / "metadata" / "dataset.json"
    content: Mapping[str, Any] = read_json(path) if path.exists() else {}
    return content


def _find_tables(raw: Path) -> tuple[RawTables, list[str]]:
    """The data files: all below ``data/`` if it exists, else those with the three columns."""

    def ignore(warning: str) -> None:
        """No column is asked for that is not there."""

    folder = raw if raw.is_dir() else raw.parent
    if (folder / "data").is_dir() and raw.is_dir():
        tables = RawTables(folder / "data", ignore)
        names = [name for name in tables.names() if not name.startswith("metadata/")]
    else:
        tables = RawTables(folder, ignore)
        names = [name for name in tables.names() if set(_REQUIRED) <= set(tables.columns(name))]
        names = [name for name in names if raw.is_dir() or tables.find(name) == raw]
    if not names:
        msg = f"raw must be a MEDS data set; {raw} holds no table with {', '.join(_REQUIRED)}. Give another folder."
        raise SchemaError(msg)
    return tables, names


def _convert(
    frame: pl.DataFrame, site_column: str, site: str | None, default_site: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events of rows, and the rows that are none."""
    own_site = pl.col(site_column).cast(pl.String) if site_column in frame.columns else pl.lit(None, pl.String)
    numbers = [column for column in ("numeric_value", _OTHER_NUMBER) if column in frame.columns]
    number = to_number(pl.col(numbers[0])) if numbers else pl.lit(None, pl.Float64)
    text = [column for column in ("text_value", "bound", "flag") if column in frame.columns]
    kind = frame.schema["time"]
    time = pl.col("time") if kind == EVENT_SCHEMA["time"] else to_time(pl.col("time"))
    if isinstance(kind, pl.Datetime) and kind.time_zone is not None:
        time = from_zoned(pl.col("time"), None)
    rows = frame.with_columns(
        _subject=to_integer(pl.col("subject_id")),
        _time=time,
        _code=pl.col("code").cast(pl.String).str.strip_chars(),
    )
    problem = (
        pl.when(pl.col("_subject").is_null())
        .then(pl.lit("no_subject"))
        .when(pl.col("_code").is_null() | (pl.col("_code") == ""))
        .then(pl.lit("no_code"))
        .when(pl.col("_code").str.len_chars() > 200)
        .then(pl.lit("code_too_long"))
        .when(pl.col("time").is_not_null() & pl.col("_time").is_null())
        .then(pl.lit("no_time"))
    )
    rows = rows.with_columns(_problem=problem)
    events = rows.filter(pl.col("_problem").is_null()).select(
        "row",
        *(pl.col(column).cast(pl.String) for column in text),
        subject_id="_subject",
        time="_time",
        code="_code",
        numeric_value=number,
        site=pl.lit(site) if site is not None else own_site.fill_null(default_site),
    )
    return as_events(events), quarantine(rows.filter(pl.col("_problem").is_not_null()), pl.col("_problem"))
