"""What became of every raw row: the check of each batch, and the report with the totals."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from sojourn.sources.records import EVENT_SCHEMA, MAX_CODE_LENGTH, SourceBatch, conform, quarantine


@dataclass(frozen=True, slots=True)
class TableCount:
    """What became of the rows of one raw table; ``rows == rows_to_events + rows_quarantined``."""

    table: str
    """Name of the raw table."""
    rows: int
    """Raw rows read."""
    rows_to_events: int
    """Rows that gave at least one event."""
    rows_quarantined: int
    """Rows set aside."""
    events: int
    """Events made from the rows."""
    reasons: dict[str, int]
    """Reason -> rows set aside for it."""


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingestion made; the same content as ``metadata/ingest.json``."""

    source: str
    """Name of the source."""
    site: str | None
    """Site given by the caller, None for the source's own."""
    tables: tuple[TableCount, ...]
    """One entry for each raw table, in reading order."""
    warnings: tuple[str, ...]
    """What is lost because tables or columns are missing."""
    num_events: int
    """Events in the data set."""
    num_subjects: int
    """Subjects in the data set."""
    sites: dict[str, int]
    """Site -> subjects with an event there."""
    raw_digest: str | None = None
    """Of the names and sizes of the raw files, so that other ones are told apart; None: not known."""
    already_there: bool = False
    """True if the data set was there before, and nothing was done."""

    def to_json(self) -> dict[str, Any]:
        """Content of ``metadata/ingest.json``."""
        content = asdict(self)
        del content["already_there"]
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any], *, already_there: bool = False) -> "IngestReport":
        """Read back what `to_json` wrote."""
        tables = tuple(TableCount(**table) for table in content["tables"])
        return cls(**{**content, "tables": tables, "warnings": tuple(content["warnings"])}, already_there=already_there)

    def __str__(self) -> str:
        """Aggregated counts as lines of text, one for each table."""
        lines = [
            f"{self.source}: {self.num_events:,} events of {self.num_subjects:,} subjects at {len(self.sites)} site(s)"
        ]
        for table in self.tables:
            why = ", ".join(f"{reason} {count:,}" for reason, count in sorted(table.reasons.items()))
            lines.append(
                f"  {table.table}: {table.rows:,} rows = {table.rows_to_events:,} to events "
                f"+ {table.rows_quarantined:,} quarantined{f' ({why})' if why else ''}; {table.events:,} events"
            )
        return "\n".join([*lines, *(f"  warning: {warning}" for warning in self.warnings)])


def check_batch(batch: SourceBatch, *, default_site: str) -> SourceBatch:
    """Complete a batch and make sure that none of its rows got lost.

    Events without subject, without code or with a code of more than 200 characters are removed; a row that is left
    without an event is quarantined. Numbers that are not finite become null with the flag ``not_finite``.

    Parameters
    ----------
    batch : as it comes from the source.
    default_site : site of events that have none.
    """
    events = conform(batch.events, EVENT_SCHEMA).with_columns(pl.col("site").fill_null(default_site))
    finite = pl.col("numeric_value").is_finite()
    events = events.with_columns(
        numeric_value=pl.when(finite).then("numeric_value"),
        flag=pl.when(finite.not_()).then(pl.lit("not_finite")).otherwise("flag"),
    )
    problem = (
        pl.when(pl.col("subject_id").is_null())
        .then(pl.lit("no_subject"))
        .when(pl.col("code").is_null() | (pl.col("code").str.len_bytes() == 0))
        .then(pl.lit("no_code"))
        .when(pl.col("code").str.len_chars() > MAX_CODE_LENGTH)
        .then(pl.lit("code_too_long"))
    )
    events = events.with_columns(_problem=problem)
    bad = events.filter(pl.col("_problem").is_not_null())
    good = events.filter(pl.col("_problem").is_null()).drop("_problem")
    quarantined = batch.quarantined
    if bad.height:
        bad = bad.join(good.select("row"), on="row", how="anti").unique("row", keep="first", maintain_order=True)
        quarantined = pl.concat([quarantined, quarantine(bad, pl.col("_problem"))])
    with_event = good["row"].unique()
    together = pl.concat([with_event, quarantined["row"]])
    assert together.n_unique() == together.len(), f"a row of {batch.table} is both an event and quarantined"
    assert together.len() == batch.num_rows, f"{batch.table}: {batch.num_rows} rows, {together.len()} accounted for"
    return SourceBatch(batch.table, batch.num_rows, good, quarantined)


def count_batch(batch: SourceBatch) -> TableCount:
    """Counts of one checked batch."""
    reasons = batch.quarantined["reason"].value_counts().sort("reason")
    return TableCount(
        table=batch.table,
        rows=batch.num_rows,
        rows_to_events=batch.num_rows - batch.quarantined.height,
        rows_quarantined=batch.quarantined.height,
        events=batch.events.height,
        reasons=dict(reasons.iter_rows()),
    )


def total(counts: Iterable[TableCount]) -> tuple[TableCount, ...]:
    """Add the counts of batches up, one total for each table in order of first appearance."""
    totals: dict[str, TableCount] = {}
    for count in counts:
        old = totals.get(count.table, TableCount(count.table, 0, 0, 0, 0, {}))
        reasons = {key: old.reasons.get(key, 0) + count.reasons.get(key, 0) for key in {**old.reasons, **count.reasons}}
        totals[count.table] = TableCount(
            count.table,
            old.rows + count.rows,
            old.rows_to_events + count.rows_to_events,
            old.rows_quarantined + count.rows_quarantined,
            old.events + count.events,
            reasons,
        )
    return tuple(totals.values())
