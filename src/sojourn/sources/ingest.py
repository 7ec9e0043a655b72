"""Raw tables of one source -> a MEDS data set: streaming, accounted for row by row, whole or not there."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from sojourn.errors import ConfigError, DataError, SojournError
from sojourn.files import atomic_file, atomic_folder, read_json, sha256, write_json
from sojourn.progress import progress_bar
from sojourn.sources import get_source
from sojourn.sources.accounting import IngestReport, TableCount, check_batch, count_batch, total
from sojourn.sources.database import database_url
from sojourn.sources.metadata import write_metadata
from sojourn.sources.records import ConnectedSource, DatabaseSource, ReferringSource, Source, SourceBatch
from sojourn.sources.shards import ShardJob, plan, run_jobs, scatter

_SMALL_BYTES = 1_000_000


class _Scattered(NamedTuple):
    """What is known once all raw tables have been read."""

    tables: tuple[TableCount, ...]
    warnings: tuple[str, ...]


def ingest(source: str, raw: Path | str, out: Path, *, site: str | None = None, workers: int = 1) -> IngestReport:
    """Turn the raw tables of one source into a MEDS data set.

    Every raw row either becomes an event or goes to ``quarantine/`` with its reason. Memory does not grow with the
    tables. An interrupted call leaves nothing at `out`; calling it again, with the same version of this package, goes
    on and ends with the same bytes. A call that refuses the raw tables leaves nothing at all. The bytes do not depend
    on `workers`.

    Parameters
    ----------
    source : name of the source, one of `sojourn.sources.SOURCES`.
    raw : folder or file with the raw tables; for ``omop`` also a SQLAlchemy URL such as
        ``postgresql://reader@host/omop``, or a DuckDB or SQLite file. Passwords never get into reports or messages.
    out : folder to make.
    site : name of the site; None for the source's own.
    workers : processes that sort shards; each takes about 1 GB at most.

    Returns
    -------
    IngestReport
        Counts by table, reason and site. If `out` holds this source and site already, what was counted then, with
        ``already_there=True``.

    Raises
    ------
    DataError
        If `out` holds something else, or the raw tables give no event at all.
    MissingTableError, SchemaError
        If nothing works without a missing table or column, or a file is damaged.
    ConfigError
        If there is no such source, or `workers` is not positive.
    """
    if workers < 1:
        msg = f"workers must be at least 1; got {workers}. Give the number of processes."
        raise ConfigError(msg)
    origin, raw = _opened(source, raw)
    if out.exists():
        return _stored_report(out, source, site, raw, origin)
    if not isinstance(origin, ConnectedSource) and not raw.exists():
        msg = f"raw must be a folder or file; {raw} does not exist. Give the place of the raw tables."
        raise DataError(msg)
    with _unfinished(out) as part:
        # Another version may read the same tables otherwise.
        task = {"version": version("sojourn"), "source": source, "site": site, "raw": _fingerprint(raw, origin)}
        work = _open_scratch(part, task)
        scattered = _scatter_all(origin, raw, work, site)
        report = replace(_gather_all(scattered, part, work, workers, source, site), raw_digest=_digest(raw, origin))
        write_metadata(origin, raw, part, work, report)
        origin.finish(part)
        (work / "key.json").unlink()  # from here on the scratch files are no longer whole
        shutil.rmtree(work)
    return report


def _opened(source: str, raw: Path | str) -> tuple[Source, Path]:
    """The source and the place to read from; of a database the place is its name without secrets."""
    origin = get_source(source)
    url = database_url(raw) if isinstance(origin, DatabaseSource) or isinstance(raw, str) else None
    if url is None and isinstance(raw, str) and "://" in raw:
        msg = "raw must be a folder, a file or a URL such as postgresql://reader@host/omop; it is none. Mend the URL."
        raise ConfigError(msg)
    if url is None:
        return origin, Path(raw)
    if not isinstance(origin, DatabaseSource):
        msg = f"raw must be a folder or file for {source}; got a database. Sources that read one: docs/formats.md."
        raise ConfigError(msg)
    connected = origin.connect(url)
    return connected, Path(connected.shown)


@contextmanager
def _unfinished(out: Path) -> Iterator[Path]:
    """Folder beside `out` to work in; on an error it stays only if calling again could go on from it."""
    with atomic_folder(out, resume=True) as part:
        try:
            yield part
        except SojournError:  # the same raw tables are refused again, and mended ones are read anew
            shutil.rmtree(part)
            raise
        except Exception:  # a full disk, say
            if not any((part / ".scratch" / "batches").glob("*.json")):
                shutil.rmtree(part)
            raise


def _stored_report(out: Path, source: str, site: str | None, raw: Path, origin: Source) -> IngestReport:
    """Report of a data set that is there already, if it is the one that was asked for."""
    stored = out / "metadata" / "ingest.json"
    if stored.exists():
        report = IngestReport.from_json(read_json(stored), already_there=True)
        # Raw tables may be deleted once they are read, and older data sets did not note them.
        is_there = isinstance(origin, ConnectedSource) or (raw.exists() and not _is_gone(raw, origin))
        is_same_raw = report.raw_digest is None or not is_there or report.raw_digest == _digest(raw, origin)
        if (report.source, report.site) == (source, site) and is_same_raw:
            return report
    msg = (
        f"out must not exist yet or hold {source} (site {site}) made from {raw}; {out} holds something else. "
        "Choose another folder."
    )
    raise DataError(msg)


def _is_gone(raw: Path, origin: Source) -> bool:
    """Whether only the file that names the raw tables is left."""
    return isinstance(origin, ReferringSource) and not raw.is_dir() and not _files_elsewhere(raw, origin)


def _raw_files(raw: Path) -> list[Path]:
    return sorted(path for path in raw.rglob("*") if path.is_file()) if raw.is_dir() else [raw]


def _files_elsewhere(raw: Path, origin: Source | None) -> list[tuple[str, os.stat_result]]:
    """Names, from the folder of `raw`, and facts of the files that `raw` names and does not hold."""
    if not isinstance(origin, ReferringSource):
        return []
    own = {path.resolve() for path in _raw_files(raw)}
    base = raw if raw.is_dir() else raw.parent
    paths = sorted({path.resolve() for path in origin.files(raw)} - own)
    return [(Path(os.path.relpath(path, base.resolve())).as_posix(), path.stat()) for path in paths]


def _fingerprint(raw: Path, origin: Source) -> str:
    """Digest of the names, sizes and times of the raw files: scratch files of other tables are not gone on with."""
    if isinstance(origin, ConnectedSource):
        return origin.fingerprint()
    files = [(path.relative_to(raw).as_posix(), path.stat()) for path in _raw_files(raw)]
    files += _files_elsewhere(raw, origin)
    return _hash([(name, stat.st_size, stat.st_mtime_ns) for name, stat in files])


def _digest(raw: Path, origin: Source | None = None) -> str:
    """Digest of the names and sizes of the raw files, the same for every copy; of one small file the content counts."""
    if isinstance(origin, ConnectedSource):
        return origin.fingerprint()
    files = _raw_files(raw)
    if len(files) == 1 and files[0].stat().st_size < _SMALL_BYTES:  # a simulator's settings keep their size
        own = sha256(files[0])
    else:
        own = _hash([(path.relative_to(raw).as_posix(), path.stat().st_size) for path in files])
    elsewhere = [(name, stat.st_size) for name, stat in _files_elsewhere(raw, origin)]
    return _hash([own, *elsewhere]) if elsewhere else own


def _hash(content: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _open_scratch(part: Path, key: dict[str, Any]) -> Path:
    """Scratch folder inside the unfinished data set; emptied unless it belongs to the same task."""
    work = part / ".scratch"
    stored = work / "key.json"
    if not stored.exists() or read_json(stored) != key:
        for old in part.iterdir():
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        (work / "batches").mkdir(parents=True)
        write_json(stored, key)
    for leftover in part.rglob(".*.part"):  # a killed process could not remove what it was writing
        leftover.unlink()
    return work


def _scatter_all(origin: Source, raw: Path, work: Path, site: str | None) -> _Scattered:
    """Read all raw tables into scratch files; done at most once, whatever interrupts it."""
    done = work / "scattered.json"
    if not done.exists():
        warnings: list[str] = []
        batches = origin.read(raw, site=site, warn=warnings.append)
        counts: list[TableCount] = []
        for table, group in groupby(batches, key=attrgetter("table")):
            with progress_bar(f"read {table}", None) as bar:
                for batch in group:
                    counts.append(_keep_batch(batch, work / "batches", len(counts), site or origin.name))
                    bar.advance(batch.num_rows)
        content = {"tables": [asdict(count) for count in total(counts)], "warnings": list(dict.fromkeys(warnings))}
        write_json(done, content)
    content = read_json(done)
    return _Scattered(tuple(TableCount(**count) for count in content["tables"]), tuple(content["warnings"]))


def _keep_batch(batch: SourceBatch, folder: Path, number: int, default_site: str) -> TableCount:
    """Check one batch and write it to scratch files, unless an earlier run did; return its counts."""
    marker = folder / f"{number:06d}.json"
    raw_shape = {"table": batch.table, "rows": batch.num_rows, "shape": [batch.events.height, batch.quarantined.height]}
    if marker.exists():
        stored = read_json(marker)
        if stored["raw"] == raw_shape:
            return TableCount(**stored["count"])
    checked = check_batch(batch, default_site=default_site)
    scatter(checked.events, folder / f"{number:06d}.parquet")
    with atomic_file(folder / "quarantine" / batch.table / f"{number:06d}.parquet") as part:
        checked.quarantined.write_parquet(part)
    count = count_batch(checked)
    write_json(marker, {"raw": raw_shape, "count": asdict(count)})
    return count


def _gather_all(
    scattered: _Scattered, part: Path, work: Path, workers: int, source: str, site: str | None
) -> IngestReport:
    """Make the shards from the scratch files, and the report and subject list from their summaries."""
    num_events = sum(table.events for table in scattered.tables)
    if num_events == 0:
        rows = sum(table.rows for table in scattered.tables)
        msg = f"raw must give events; {source} found none in {rows:,} rows. Check the folder and its file names."
        raise DataError(msg)
    summaries = work / "summaries"
    jobs = [
        ShardJob(work / "batches", part / "data" / f"{number}.parquet", summaries / f"{number}.json", first, end)
        for number, (first, end) in enumerate(plan(num_events))
    ]
    subjects: list[int] = []
    sites: dict[str, int] = {}
    with progress_bar("sort shards", len(jobs)) as bar:
        for summary in run_jobs(jobs, workers):
            subjects.extend(summary["subjects"])
            for name, count in summary["sites"].items():
                sites[name] = sites.get(name, 0) + count
            bar.advance()
    write_json(work / "subjects.json", sorted(subjects))
    return IngestReport(
        source=source,
        site=site,
        tables=scattered.tables,
        warnings=scattered.warnings,
        num_events=num_events,
        num_subjects=len(subjects),
        sites=dict(sorted(sites.items())),
    )
