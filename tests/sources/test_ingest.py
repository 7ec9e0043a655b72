"""The engine: accounted for, ordered, deterministic, resumable."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import meds
import numpy as np
import polars as pl
import pyarrow.parquet as pa_parquet
import pytest

from sojourn.errors import ConfigError, DataError, SchemaError
from sojourn.events.build import build_store
from sojourn.events.splits import assign_splits
from sojourn.events.store import EventStore
from sojourn.files import read_json, sha256
from sojourn.sources import ingest as engine
from sojourn.sources import shards
from sojourn.sources.accounting import IngestReport
from sojourn.sources.ingest import ingest
from sojourn.sources.records import EVENT_SCHEMA, SourceBatch, as_codes, as_events, quarantine

ReadEvents = Callable[[Path], pl.DataFrame]


class Scripted:
    """A source that hands over what the test wrote."""

    name = "scripted"

    def __init__(self, *batches: SourceBatch) -> None:
        self.batches = batches

    def read(self, raw: Path, *, site: str | None, warn: Callable[[str], None]) -> Iterator[SourceBatch]:
        warn("table other is missing: nothing will be missing")
        yield from self.batches

    def codes(self, raw: Path) -> pl.DataFrame:
        return as_codes([{"code": "LAB", "description": "Laboratory"}, {"code": "NEVER", "description": "Not seen"}])

    def finish(self, out: Path) -> None:
        (out / "extra.txt").write_text("truth")


def rows(*events: tuple[int, int | None, datetime | None, str | None, float | None]) -> pl.DataFrame:
    names = ("row", "subject_id", "time", "code", "numeric_value")
    return as_events(pl.DataFrame(events, schema={name: EVENT_SCHEMA[name] for name in names}, orient="row"))


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., IngestReport]:
    """Ingest what the test wrote to ``tmp_path/out``."""

    def run(*batches: SourceBatch, site: str | None = None) -> IngestReport:
        monkeypatch.setattr(engine, "get_source", lambda name: Scripted(*batches))
        (tmp_path / "raw").mkdir(exist_ok=True)
        return ingest("scripted", tmp_path / "raw", tmp_path / "out", site=site)

    return run


def fingerprints(dataset: Path) -> dict[str, str]:
    return {path.relative_to(dataset).as_posix(): sha256(path) for path in sorted(dataset.rglob("*")) if path.is_file()}


def test_every_row_is_accounted_for(play: Callable[..., IngestReport], tmp_path: Path, read_events: ReadEvents) -> None:
    noon = datetime(2100, 1, 1, 12)
    none = quarantine(pl.DataFrame(schema={"row": pl.UInt64}), "never")
    first = SourceBatch(
        "icu/labs",
        4,
        rows(
            (0, 7, noon, "LAB//B", 1.0),
            (0, 7, noon, "LAB//A", 2.0),
            (1, 7, None, "GENDER//F", None),
            (2, None, noon, "X", 1),
        ),
        quarantine(pl.DataFrame({"row": [3], "charttime": ["?"], "_hidden": [1]}), "no_time"),
    )
    second = SourceBatch(
        "icu/labs", 3, rows((4, 7, noon, "", 1.0), (5, 9, noon, "C" * 201, 1), (6, 9, noon, "LAB//A", 2)), none
    )
    third = SourceBatch("admissions", 1, rows((0, 7, noon, "LAB//A", float("nan"))), none)
    report = play(first, second, third)
    labs, admissions = report.tables
    assert (labs.rows, labs.rows_to_events, labs.rows_quarantined, labs.events) == (7, 3, 4, 4)
    assert labs.reasons == {"no_subject": 1, "no_time": 1, "no_code": 1, "code_too_long": 1}
    assert (admissions.rows, admissions.events) == (1, 1)
    assert (report.num_events, report.num_subjects, report.sites) == (5, 2, {"scripted": 2})
    out = tmp_path / "out"
    assert IngestReport.from_json(read_json(out / "metadata" / "ingest.json")) == report
    aside = pl.read_parquet(out / "quarantine" / "icu" / "labs.parquet")
    assert aside["row"].to_list() == [2, 3, 4, 5]
    assert aside["record"][1] == '{"charttime":"?"}'
    assert aside["table"].unique().to_list() == ["icu/labs"]
    events = read_events(out)
    assert events.filter(pl.col("subject_id") == 7).select("time", "code", "numeric_value", "flag").rows() == [
        (None, "GENDER//F", None, None),
        (noon, "LAB//A", None, "not_finite"),
        (noon, "LAB//A", 2.0, None),
        (noon, "LAB//B", 1.0, None),
    ]
    assert (out / "extra.txt").read_text() == "truth"
    assert "4 quarantined (code_too_long 1, no_code 1, no_subject 1, no_time 1)" in str(report)


def test_a_lost_row_stops_the_engine(play: Callable[..., IngestReport], tmp_path: Path) -> None:
    none = quarantine(pl.DataFrame(schema={"row": pl.UInt64}), "never")
    with pytest.raises(AssertionError, match="labs: 2 rows, 1 accounted for"):
        play(SourceBatch("labs", 2, rows((0, 1, None, "A", None)), none))
    assert not (tmp_path / "out").exists()


def test_a_source_without_events_is_an_error(play: Callable[..., IngestReport]) -> None:
    bad = quarantine(pl.DataFrame({"row": [0]}), "no_time")
    with pytest.raises(DataError, match="found none in 1 rows"):
        play(SourceBatch("labs", 1, as_events(), bad))


class Failing(Scripted):
    """A source that fails after some batches."""

    def __init__(self, error: BaseException, *batches: SourceBatch) -> None:
        super().__init__(*batches)
        self.error = error

    def read(self, raw: Path, *, site: str | None, warn: Callable[[str], None]) -> Iterator[SourceBatch]:
        yield from self.batches
        raise self.error


@pytest.mark.parametrize(
    ("error", "num_batches", "left"),
    [
        (SchemaError("labs must be a whole, readable table; it is not."), 0, set()),
        (SchemaError("labs must be a whole, readable table; it is not."), 1, set()),
        (OSError(28, "No space left on device"), 0, set()),
        (OSError(28, "No space left on device"), 1, {".out.part"}),
        (KeyboardInterrupt(), 0, {".out.part"}),
        (KeyboardInterrupt(), 1, {".out.part"}),
    ],
)
def test_an_error_leaves_only_what_can_be_gone_on_from(
    play: Callable[..., IngestReport],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    num_batches: int,
    left: set[str],
) -> None:
    none = quarantine(pl.DataFrame(schema={"row": pl.UInt64}), "never")
    batch = SourceBatch("labs", 1, rows((0, 1, None, "A", None)), none)
    (tmp_path / "raw").mkdir()
    monkeypatch.setattr(engine, "get_source", lambda name: Failing(error, *[batch] * num_batches))
    with pytest.raises(type(error)):
        ingest("scripted", tmp_path / "raw", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"raw"} | left
    assert play(batch).num_events == 1
    assert {path.name for path in tmp_path.iterdir()} == {"raw", "out"}


def test_metadata_follow_the_meds_schemas(play: Callable[..., IngestReport], tmp_path: Path) -> None:
    none = quarantine(pl.DataFrame(schema={"row": pl.UInt64}), "never")
    play(SourceBatch("labs", 2, rows((0, 1, None, "LAB//A//mg", 1.0), (1, 2, None, "OTHER", None)), none))
    out = tmp_path / "out"
    for path in (out / "data").glob("*.parquet"):
        meds.DataSchema.validate(pa_parquet.read_table(path))
    meds.CodeMetadataSchema.validate(pa_parquet.read_table(out / meds.code_metadata_filepath))
    meds.SubjectSplitSchema.validate(pa_parquet.read_table(out / meds.subject_splits_filepath))
    meds.DatasetMetadataSchema.validate(read_json(out / meds.dataset_metadata_filepath))
    codes = pl.read_parquet(out / "metadata" / "codes.parquet")
    assert codes["code"].to_list() == ["LAB", "LAB//A//mg", "OTHER"]  # described but never seen: left out
    assert codes["parent_codes"].to_list() == [[], ["LAB//A"], []]
    assert codes["scale"].to_list() == [1.0] * 3
    splits = pl.read_parquet(out / "metadata" / "subject_splits.parquet")
    assert splits["split"].to_list() == assign_splits(np.array([1, 2])).tolist()


def test_a_second_run_says_what_is_there(psv_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = ingest("challenge-2019", psv_folder, out)
    before = fingerprints(out)
    second = ingest("challenge-2019", psv_folder, out)
    assert second.already_there
    assert second.tables == first.tables
    assert fingerprints(out) == before
    with pytest.raises(DataError, match="holds something else"):
        ingest("challenge-2019", psv_folder, out, site="elsewhere")
    next(psv_folder.rglob("*.psv")).unlink()
    with pytest.raises(DataError, match="holds something else"):
        ingest("challenge-2019", psv_folder, out)
    shutil.rmtree(psv_folder)  # whoever deleted the raw files keeps the data set
    assert ingest("challenge-2019", psv_folder, out).already_there


def test_other_settings_of_one_small_file_are_other_raw_data(tmp_path: Path) -> None:
    raw = tmp_path / "network.yaml"
    raw.write_text("seed: 0")
    digest = engine._digest(raw)
    raw.write_text("seed: 1")
    assert engine._digest(raw) != digest


def test_workers_do_not_change_the_bytes(
    psv_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_events: ReadEvents
) -> None:
    monkeypatch.setattr(shards, "_MIN_SHARD_EVENTS", 300)
    alone = ingest("challenge-2019", psv_folder, tmp_path / "alone")
    ingest("challenge-2019", psv_folder, tmp_path / "together", workers=2)
    assert len(list((tmp_path / "alone" / "data").iterdir())) > 2
    assert fingerprints(tmp_path / "alone") == fingerprints(tmp_path / "together")
    events = read_events(tmp_path / "alone")
    assert events.height == alone.num_events
    paths = sorted((tmp_path / "alone" / "data").iterdir())
    owners = [set(pl.read_parquet(path)["subject_id"]) for path in paths]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 40
    for path in paths:
        shard = pl.read_parquet(path)
        assert shard.equals(shard.sort("subject_id", "time", "code", "numeric_value", "text_value", nulls_last=False))


KILLED = """
import os, signal, sys
from pathlib import Path
from sojourn.sources import ingest as engine, shards
shards._MIN_SHARD_EVENTS = 300
patience = {where: int(n) for where, n in [sys.argv[3].split(":")]}
def dying(where, function):
    def call(*args, **kwargs):
        result = function(*args, **kwargs)
        patience[where] = patience.get(where, 10**9) - 1
        if patience[where] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call
engine._keep_batch = dying("batch", engine._keep_batch)
shards.make_shard = dying("shard", shards.make_shard)
engine.write_metadata = dying("metadata", engine.write_metadata)
engine.ingest("challenge-2019", Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("where", ["batch:1", "shard:2", "metadata:1"])
def test_a_killed_run_goes_on_to_the_same_bytes(
    psv_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(psv_folder), str(out), where]
    killed = subprocess.run(command, capture_output=True, check=False, env={**os.environ, "POLARS_MAX_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not out.exists()
    (tmp_path / ".out.part" / "data").mkdir(exist_ok=True)
    (tmp_path / ".out.part" / "data" / ".0.parquet.1.part").write_text("half a shard")
    monkeypatch.setattr(shards, "_MIN_SHARD_EVENTS", 300)
    remade: list[object] = []
    make = shards.make_shard
    monkeypatch.setattr(shards, "make_shard", lambda job: (remade.append(job), make(job)))
    ingest("challenge-2019", psv_folder, out)
    resumed = len(remade)
    ingest("challenge-2019", psv_folder, tmp_path / "at once")
    whole = len(remade) - resumed
    assert fingerprints(out) == fingerprints(tmp_path / "at once")
    assert resumed == {"batch:1": whole, "shard:2": whole - 2, "metadata:1": 0}[where]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["at once", "out", "raw"]


def test_scratch_files_of_other_tables_are_not_used(
    psv_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(engine, "write_metadata", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ingest("challenge-2019", psv_folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    next(psv_folder.rglob("*.psv")).unlink()
    ingest("challenge-2019", psv_folder, tmp_path / "out")
    ingest("challenge-2019", psv_folder, tmp_path / "fresh")
    assert fingerprints(tmp_path / "out") == fingerprints(tmp_path / "fresh")


def test_scratch_files_of_another_version_are_not_used(
    psv_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    def count_writes(events: pl.DataFrame, path: Path) -> None:
        read.append(path)
        shards.scatter(events, path)

    def stop_at_the_end(*, version: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(engine, "version", lambda _: version)
            patch.setattr(engine, "write_metadata", interrupt)
            patch.setattr(engine, "scatter", count_writes)
            with pytest.raises(KeyboardInterrupt):
                ingest("challenge-2019", psv_folder, tmp_path / "out")

    stop_at_the_end(version="1.0")
    first = len(read)
    stop_at_the_end(version="1.0")
    assert len(read) == first > 0, "the same version goes on"
    stop_at_the_end(version="1.1")
    assert len(read) == 2 * first, "another one reads anew"


def test_tables_that_a_mapping_names_are_raw_data_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_events: ReadEvents
) -> None:
    mapping, table = tmp_path / "hospital.yaml", tmp_path / "tables" / "t.csv"
    table.parent.mkdir()
    event = "{code: HR, time: at, value: hr}"
    mapping.write_text(f"subject: who\nfolder: tables\ntables: {{t: {{file: t.csv, events: [{event}]}}}}\n")

    def write(value: str) -> None:
        table.write_text(f"who,at,hr\n1,2020-01-01 10:00,{value}\n")

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    write("80")
    with monkeypatch.context() as patch:
        patch.setattr(engine, "write_metadata", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ingest("csv", mapping, tmp_path / "out")
    write("90")
    os.utime(table, (1, 1))
    ingest("csv", mapping, tmp_path / "out")
    assert read_events(tmp_path / "out")["numeric_value"].to_list() == [90.0]
    assert ingest("csv", mapping, tmp_path / "out").already_there
    write("100")
    with pytest.raises(DataError, match="holds something else"):
        ingest("csv", mapping, tmp_path / "out")
    table.unlink()
    assert ingest("csv", mapping, tmp_path / "out").already_there


@pytest.mark.parametrize("name", ["out[1]", "o*t"])
def test_the_name_of_a_folder_is_no_pattern(psv_folder: Path, tmp_path: Path, name: str) -> None:
    report = ingest("challenge-2019", psv_folder, tmp_path / name)
    build_store(tmp_path / f"{name} store", [tmp_path / name])
    shutil.copytree(tmp_path / name, tmp_path / "out 2 t")  # what the second pattern would find, too
    build_store(tmp_path / f"{name} again", [tmp_path / name])
    for store in (f"{name} store", f"{name} again"):
        assert len(EventStore.open(tmp_path / store)) == report.num_subjects


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="source must be one of aumcdb"):
        ingest("mimic-v", tmp_path, tmp_path / "out")
    with pytest.raises(ConfigError, match="workers must be at least 1"):
        ingest("meds", tmp_path, tmp_path / "out", workers=0)
    with pytest.raises(DataError, match="does not exist"):
        ingest("meds", tmp_path / "nowhere", tmp_path / "out")


@pytest.mark.parametrize("num_events", [0, 1, 999_999, 3_000_001, 10**9])
def test_shards_cover_all_slots_once(num_events: int) -> None:
    ranges = shards.plan(num_events)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == shards.SLOTS
    assert all(one[1] == two[0] and one[0] < one[1] for one, two in pairwise(ranges))
    assert num_events / len(ranges) <= 2_000_000


def test_subjects_spread_evenly_over_slots() -> None:
    counts = np.bincount(shards.slots(np.arange(100_000)) >> 12, minlength=16)
    assert counts.min() > 5_900  # 6,250 expected, standard deviation 77
    assert counts.max() < 6_600
