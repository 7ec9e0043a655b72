"""HiRID 1.1.1 (raw tables: ``raw_stage`` and ``reference_data``) -> events.

Written from the published layout; the full database was not available. Conventions:

* **Subject**: the ICU stay (`patientid`), which is all that HiRID knows of a patient.
* **Tables in parts** (``observation_tables/csv/part-0.csv`` or ``observation_tables/parquet/part-0.parquet`` and so on)
  are read in the order of their numbers, and their rows counted over all parts. Parquet goes before CSV.
* **Observations** stand at `datetime`. Where ``ordinal_vars_ref`` has a word for a value, it is the last level of the
  code. Counters (``.../c`` in the reference of variables, urine among them) give what was added since the value before;
  the text keeps the counter. A counter that falls began anew at zero.
* **Drugs**: bits of `recordstatus` mark the start (4), the end (256), a single dose (32) and an invalidated row (2). A
  row of an infusion tells the dose since the row before; the rate of a step stands at its beginning, as the rate that
  was set then. Masses become mcg/kg/min where a weight is known before the end of the data.
* **End of the stay**: HiRID does not record it. It is the last heart rate or arterial pressure, else the last
  observation; who was discharged dead died then.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from sojourn.sources.hirid import observations, patients, pharma
from sojourn.sources.hirid.known import Known, look_up
from sojourn.sources.recipes import Recipe, code_of, label, unit_of
from sojourn.sources.records import SourceBatch, as_codes
from sojourn.sources.tables import RawTables

_PARTS = r"(?:^|/)part-(\d+)$"
_WHOLE_PART = 5_000_000
"""Rows: a part holds whole patients, and what is counted since the row before needs them together."""


class HiRID:
    """The source ``hirid``."""

    name = "hirid"

    def read(self, raw: Path, *, site: str | None, warn: Callable[[str], None]) -> Iterator[SourceBatch]:
        """Yield the batches of all tables; see `sojourn.sources.records.Source`."""
        tables = RawTables(raw, warn)
        known = look_up(tables, site or self.name)
        for recipe in (observations.RECIPE, pharma.RECIPE):
            yield from _stream_parts(recipe, tables, known, warn)
        yield from patients.RECIPE.stream(tables, known)

    def codes(self, raw: Path) -> pl.DataFrame:
        """Names and units from ``hirid_variable_reference``."""
        tables = RawTables(raw, lambda _: None)
        frame = tables.read("hirid_variable_reference", ("ID", "Variable Name"), ("Source Table", "Unit"))
        if frame is None:
            return as_codes([])
        is_drug = (
            pl.col("Source Table").cast(pl.String).str.to_lowercase().str.contains("pharma").fill_null(value=False)
        )
        description, unit = label(pl.col("Variable Name")), unit_of(pl.col("Unit"))
        drugs, others = frame.filter(is_drug), frame.filter(~is_drug)
        named = [
            others.select(code=code_of("OBSERVATION", pl.col("ID")), description=description, unit=unit),
            drugs.select(code=code_of("PHARMA", pl.col("ID")), description=description, unit=unit),
            drugs.select(code=code_of("PHARMA_END", pl.col("ID")), description=description),
        ]
        return as_codes(pl.concat(named, how="diagonal").unique("code", keep="first", maintain_order=True))

    def finish(self, out: Path) -> None:
        """There is nothing beside the events."""


def _stream_parts(
    recipe: Recipe[Known], tables: RawTables, known: Known, warn: Callable[[str], None]
) -> Iterator[SourceBatch]:
    """Batches of a table that lies in parts, its rows counted over all of them."""
    parts = _parts(tables, recipe.table)
    if not parts:
        yield from recipe.stream(tables, known)  # one file of that name, or the warning that there is none
        return
    start = 0
    for part in parts:
        rows = 0
        for batch in tables.stream(
            part,
            lambda frame: recipe.convert(frame, known),
            recipe.required,
            recipe.optional,
            lost=recipe.lost,
            batch_rows=_WHOLE_PART,
        ):
            rows += batch.num_rows
            shift = pl.col("row") + pl.lit(start, pl.UInt64)
            yield SourceBatch(
                recipe.table, batch.num_rows, batch.events.with_columns(shift), batch.quarantined.with_columns(shift)
            )
        start += rows


def _parts(tables: RawTables, table: str) -> list[str]:
    """Names of the files of a table in parts, in the order of their numbers; Parquet before CSV."""
    numbers: dict[int, str] = {}
    for name in tables.names():
        found = re.search(_PARTS, name)
        if found and f"{table}/" in f"/{name}":
            number = int(found[1])
            path = tables.find(name)
            if number not in numbers or (path is not None and path.suffix == ".parquet"):
                numbers[number] = name
    return [numbers[number] for number in sorted(numbers)]


SOURCE = HiRID()
