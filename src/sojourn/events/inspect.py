"""What a MEDS data set, an event store or a run holds: counts and spans, never a patient's times or values."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import yaml

from sojourn.errors import DataError
from sojourn.events import meds
from sojourn.events.build import report_of
from sojourn.events.codes import BIRTH, SEPARATOR
from sojourn.events.pieces import read_columns
from sojourn.events.store import MANIFEST, EventStore
from sojourn.events.units import DECISIONS, describe_units, read_units
from sojourn.files import read_json

SETTINGS, METRICS, VOCABULARY = "run.yaml", "metrics.jsonl", "vocabulary.parquet"
DATA = "artifacts/data.json"
"""What a run says of the data that it learnt from."""
_STORED = ("subjects", "events", "codes")
_HOURS_PER_YEAR = 24 * 365.25


class Table(NamedTuple):
    """A table to print."""

    title: str
    """What it shows."""
    columns: tuple[str, ...]
    """Headers."""
    rows: tuple[tuple[str | int | float, ...], ...]
    """Cells, row by row."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a folder holds, in counts."""

    path: str
    """The folder."""
    kind: str
    """meds, store or run."""
    counts: dict[str, int | float | str]
    """Sizes by name."""
    sites: dict[str, dict[str, int]]
    """Subjects (and, in a store, events and recorded tick in seconds) by site."""
    families: dict[str, dict[str, int]]
    """Codes and events by the first level of the code; in a run, of what it was trained on."""
    span: dict[str, float]
    """years between the first and the last event of the data; hours that the median and the longest-but-5 % record
    last. A run does not say."""
    quarantine: tuple[dict[str, str | int], ...]
    """table, reason, rows: what was set aside on the way here, by the ingestion and by the build."""
    notes: tuple[str, ...] = ()
    """Warnings of the ingestion, and what else is worth knowing."""
    units: tuple[dict[str, str | int | float | None], ...] = ()
    """Codes of a site that are not simply recorded in their declared unit: see `sojourn.events.units.UnitsReport`."""

    def to_dict(self) -> dict[str, Any]:
        """The same content for JSON."""
        return asdict(self)

    def tables(self) -> tuple[Table, ...]:
        """The content as tables; empty ones are left out."""
        site_columns = tuple(next(iter(self.sites.values()), {}))
        found = (
            Table(f"{self.kind} {self.path}", ("what", "count"), tuple(self.counts.items())),
            Table("time", ("what", "span"), tuple(self.span.items())),
            Table("sites", ("site", *site_columns), tuple((name, *of.values()) for name, of in self.sites.items())),
            Table(
                "codes",
                ("family", "codes", "events"),
                tuple((name, of["codes"], of["events"]) for name, of in self.families.items()),
            ),
            Table("set aside", ("table", "reason", "rows"), tuple(tuple(row.values()) for row in self.quarantine)),
            Table("units", tuple(next(iter(self.units), {})), tuple(_shown(row) for row in self.units)),
            Table("notes", ("note",), tuple((note,) for note in self.notes)),
        )
        return tuple(table for table in found if table.rows)


def _shown(row: Mapping[str, str | int | float | None]) -> tuple[str | int | float, ...]:
    """Cells of a row; nothing for what is not known."""
    return tuple("" if value is None else value for value in row.values())


def inspect(path: Path) -> Inspection:
    """Say what a MEDS data set, an event store or a run folder holds.

    Raises
    ------
    DataError
        If it is none of them.
    """
    path = Path(path)
    if (path / MANIFEST).exists():
        return _store(path)
    if (path / SETTINGS).exists():
        return _run(path)
    if meds.is_meds(path):
        return _meds(path)
    what = "is not there" if not path.exists() else f"has neither {MANIFEST}, {SETTINGS} nor data/**/*.parquet"
    msg = f"path must be a MEDS data set, an event store or a run; {path} {what}."
    raise DataError(msg)


def _store(path: Path) -> Inspection:
    """An event store: everything is in its tables."""
    store, report = EventStore.open(path), report_of(path)
    sites = (
        store.subjects.group_by("site")
        .agg(subjects=pl.len(), events=pl.col("num_events").sum(), tick_s=pl.col("time_tick_s").min())
        .sort("site")
    )
    extent = pl.col("origin").min(), pl.col("origin").max()
    first, last = store.subjects.select(first=extent[0], last=extent[1]).row(0)
    follow_up = store.subjects.filter(pl.col("follow_up_s").is_finite())["follow_up_s"] / 3600
    splits = store.subjects.group_by("split").len().sort("split")
    instants = int(store.subjects["num_instants"].sum())
    accounts = store.accounts()
    by_build = {"tables": [{"table": "build", "reasons": report.quarantined}]}
    return Inspection(
        path=str(path),
        kind="store",
        counts={
            "datasets": ", ".join(report.datasets),
            "subjects": report.num_subjects,
            **{f"subjects in {name}": count for name, count in splits.iter_rows()},
            "subjects without a timed event (not stored)": report.subjects_without_time,
            "events": report.num_events,
            "instants": instants,
            "static facts": report.num_static,
            "codes": report.num_codes,
            "shards": report.num_shards,
            "bytes per event": round(report.bytes_per_event, 3),
        },
        sites={row[0]: dict(zip(sites.columns[1:], row[1:], strict=True)) for row in sites.iter_rows()},
        families=_families(store.vocabulary.select("code", "count")),
        span=_span((last - first).total_seconds() / 3600 if first is not None else 0.0, follow_up),
        quarantine=(*_set_aside(accounts), *_set_aside([by_build])),
        notes=tuple(f"{name.replace('_', ' ')}: {count:,}" for name, count in report.notes.items() if count),
        units=_units(accounts),
    )


def _set_aside(accounts: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, str | int]]:
    """What ingestion set aside of each table, by reason; of several data sets the table is named with its own."""
    for account in accounts:
        prefix = f"{account['name']}: " if len(accounts) > 1 else ""
        for entry in account.get("tables", ()):
            for reason, count in sorted(entry["reasons"].items()):
                yield {"table": prefix + entry["table"], "reason": reason, "rows": count}


def _units(accounts: Sequence[Mapping[str, Any]]) -> tuple[dict[str, str | int | float | None], ...]:
    """Codes whose unit is not simply as declared, of all data sets."""
    return tuple(row for account in accounts for row in account.get("units", {}).get("table", ()))


def _meds(path: Path) -> Inspection:
    """A MEDS data set: one pass over its shards, and what its ingestion wrote."""
    codes, subjects = _survey(path)
    hours = subjects.select((pl.col("last") - pl.col("first")).dt.total_seconds() / 3600).to_series().drop_nulls()
    extent = subjects.select((pl.col("last").max() - pl.col("first").min()).dt.total_seconds()).item() or 0
    report = path / "metadata" / "ingest.json"
    ingest: dict[str, Any] = read_json(report) if report.exists() else {}
    sites = subjects.group_by("site").len().sort("site")
    table = read_units(path)
    units = None if table is None else describe_units(table, path)
    return Inspection(
        path=str(path),
        kind="meds",
        counts={
            "subjects": len(subjects),
            "events": int(codes["count"].sum()),
            "static facts": int(subjects["num_static"].sum()),
            "codes": len(codes),
            "shards": len(meds.shard_paths(path)),
            **({"source": ingest["source"]} if "source" in ingest else {}),
            **({f"codes of a site, unit {kind}": getattr(units, kind) for kind in DECISIONS} if units else {}),
        },
        sites={name: {"subjects": count} for name, count in sites.iter_rows()},
        families=_families(codes),
        span=_span(extent / 3600, hours),
        quarantine=tuple(_set_aside([ingest])),
        notes=tuple(ingest.get("warnings", ())),
        units=() if units is None else units.table,
    )


def _survey(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events by code, and site and extent of each subject, shard by shard."""
    codes = pl.DataFrame(schema={"code": pl.String, "count": pl.Int64})
    subjects: list[pl.DataFrame] = []
    for shard, scan in meds.iterate_shards(path):
        rows = scan.select(read_columns(shard, path))
        by_code = rows.group_by("code").agg(count=pl.len().cast(pl.Int64)).collect()
        codes = pl.concat([codes, by_code]).group_by("code").agg(pl.col("count").sum())
        by_subject = rows.group_by("subject_id").agg(
            pl.col("site").drop_nulls().first(),
            first=pl.col("time").filter(pl.col("code") != BIRTH).min(),
            last=pl.col("time").max(),
            num_static=pl.col("time").null_count(),
        )
        subjects.append(by_subject.collect())
    return codes, pl.concat(subjects).with_columns(pl.col("site").fill_null(path.resolve().name))


def _run(path: Path) -> Inspection:
    """A run: its settings, the last figures of each split, and what it tells of the data that it learnt from."""
    try:
        settings = yaml.safe_load((path / SETTINGS).read_text()) or {}
    except yaml.YAMLError as error:
        msg = f"{path / SETTINGS} must hold YAML; it is damaged. Restore it or train again."
        raise DataError(msg) from error
    data = read_json(path / DATA) if (path / DATA).exists() else {}
    if not isinstance(data, dict):
        msg = f"{path / DATA} must hold a JSON object; it is damaged. Remove it or train again."
        raise DataError(msg)
    accounts = data.get("datasets", [])
    stored = data.get("store", {})
    counts = _last_figures(path)
    counts |= {f"{name} of the store": stored[f"num_{name}"] for name in _STORED if f"num_{name}" in stored}
    weights = path / "model.safetensors"
    counts["weights"] = f"{weights.stat().st_size / 1e6:.1f} MB" if weights.exists() else "not trained to the end"
    sites: Counter[str] = Counter()
    for account in accounts:
        sites.update(account.get("sites", {}))
    return Inspection(
        path=str(path),
        kind="run",
        counts=counts,
        sites={site: {"subjects": count} for site, count in sorted(sites.items())},
        families=_families_of_run(path),
        span={},
        quarantine=tuple(_set_aside(accounts)),
        notes=tuple(f"{name} = {value}" for name, value in _flat(settings)),
        units=_units(accounts),
    )


def _last_figures(run: Path) -> dict[str, int | float | str]:
    """The last figures of each split in a run's log."""
    figures: dict[str, int | float | str] = {}
    if (run / METRICS).exists():
        for line in (run / METRICS).read_text().splitlines():
            entry = json.loads(line) if line.endswith("}") else {}
            split = entry.pop("split", "train")
            numbers = {name: value for name, value in entry.items() if isinstance(value, int | float)}
            figures |= {f"{split} {name.replace('_', ' ')}": value for name, value in numbers.items()}
    return figures


def _families_of_run(run: Path) -> dict[str, dict[str, int]]:
    """Codes that a run knows and their events in its training; what it has no family for is `unknown`."""
    path = run / VOCABULARY
    if not path.exists():
        return {}
    try:
        codes = pl.read_parquet(path, glob=False, columns=["code", "count"])
    except (pl.exceptions.PolarsError, OSError) as error:
        msg = f"{path} must be a readable vocabulary; reading it gave {type(error).__name__}. Train again."
        raise DataError(msg) from error
    return _families(codes.with_columns(pl.col("code").str.strip_prefix(SEPARATOR)))


def _families(counts: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Codes and events by first level, most frequent first."""
    family = pl.col("code").fill_null("(no code)").str.split(SEPARATOR).list.first()
    table = (
        counts.group_by(family.alias("family"))
        .agg(codes=pl.len(), events=pl.col("count").sum())
        .sort("events", "family", descending=[True, False])
    )
    return {name: {"codes": codes, "events": events} for name, codes, events in table.iter_rows()}


def _span(hours_of_data: float, record_hours: pl.Series) -> dict[str, float]:
    """The span of the data and of its records."""
    span = {"years of data": round(hours_of_data / _HOURS_PER_YEAR, 2)}
    if len(record_hours):
        quantiles = {"median": 0.5, "95 %": 0.95}
        of = {name: record_hours.quantile(q, "nearest") for name, q in quantiles.items()}
        span |= {f"hours of a record, {name}": round(float(hours or 0), 1) for name, hours in of.items()}
    return span


def _flat(settings: Any, prefix: str = "") -> Iterator[tuple[str, str | int | float]]:
    """Nested settings as (dotted name, value)."""
    if isinstance(settings, dict):
        for name, value in settings.items():
            yield from _flat(value, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, settings
