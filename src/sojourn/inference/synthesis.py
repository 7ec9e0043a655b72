"""Synthetic patients: whole records drawn from a run alone, with nobody's record to begin with.

What the network models is drawn from it: every instant, code and value after the static facts. What it takes as given
is drawn without it: static facts each by its share in the training counts and its value scale, and ages from a normal
distribution that the caller chooses, as a run holds none. How facts go together (age with comorbidity) is thus lost.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import torch

from sojourn.errors import ConfigError
from sojourn.events.meds import write_table
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.files import atomic_folder, write_json
from sojourn.inference.futures import ends_of, futures_at_once
from sojourn.inference.sampler import FutureSampler, SampledEvents
from sojourn.inference.starts import Starts, last_known
from sojourn.model import Batch, Network
from sojourn.progress import Bar, progress_bar
from sojourn.tasks.outcomes import FOLLOW_UP_END
from sojourn.training.records import EventTable, Ints
from sojourn.training.run import Run

_MINUTE_S, _DAY_S, _YEAR_S = 60.0, 86400, 31557600.0
_ADULT = (18.0, 95.0)
_ORIGIN = datetime(2100, 1, 1)
"""Day on which every synthetic record begins: no synthetic date can be taken for a real one."""
SITE = "synthetic"


class Drawing(NamedTuple):
    """How synthetic patients are drawn: how many, how long, of which ages, with whose habits of measuring."""

    num_subjects: int = 1000
    horizon_hours: float = 168.0
    """Records that have not ended by then are cut there."""
    age_years: tuple[float, float] = (62.0, 16.0)
    """Mean and standard deviation of the ages, cut to 18 to 95."""
    seed: int = 0
    site: str | None = None
    """Whose habits of measuring the records show; None: an unknown hospital's."""
    tick_s: float | None = None
    """Seconds between two times that can be told apart; None: those of most training records, a minute if the run does
    not know."""


@dataclass(frozen=True, slots=True)
class SynthesisReport:
    """What was drawn."""

    path: str
    num_subjects: int
    num_events: int
    share_ended: float
    """Share of the records that ended for good, with a death or a discharge, before the horizon."""


def synthesise(run: Path, out: Path, drawing: Drawing | None = None) -> SynthesisReport:
    """Draw synthetic patients and write them as a MEDS data set.

    A run can repeat what it learnt by heart: synthetic records are as private as the run is, no more.

    Parameters
    ----------
    run : a trained run.
    out : folder of the MEDS data set.
    drawing : how many, for how long; the defaults if None.

    Raises
    ------
    ConfigError
        If there shall be no subject, or the site is not one of the run's.
    """
    how, trained = drawing or Drawing(), Run(run)
    if how.num_subjects < 1 or how.horizon_hours <= 0:
        msg = f"a drawing must have a subject and a horizon; got {how.num_subjects} and {how.horizon_hours} hours."
        raise ConfigError(msg)
    if how.site is not None and how.site not in trained.sites:
        msg = f"site must be one that the run was trained on; got {how.site!r}. It knows {', '.join(trained.sites)}."
        raise ConfigError(msg)
    site = 0 if how.site is None else trained.sites.index(how.site) + 1
    data = trained.settings["data"]
    num_known, how = int(data["num_training_subjects"]), how._replace(tick_s=how.tick_s or data.get("time_tick_s"))
    with atomic_folder(out) as part:  # opened first: what is there already is told before anything is drawn
        with progress_bar("synthetic patients", how.num_subjects) as bar:
            table = records(trained.network(), trained.vocabulary, num_known, site, how, trained.config.context, bar)
        write_meds(part, table, trained.vocabulary)
        write_json(part / "metadata" / "synthesis.json", {"run": str(run)} | how._asdict())
    num_open = int((table["code"] == FOLLOW_UP_END).sum())
    return SynthesisReport(str(out), how.num_subjects, len(table), 1 - num_open / how.num_subjects)


def records(
    network: Network,
    vocabulary: ModelVocabulary,
    num_known: int,
    site: int,
    how: Drawing,
    context: int,
    bar: Bar | None = None,
) -> pl.DataFrame:
    """Rows of a MEDS data set: subject_id, time, code, numeric_value, site.

    Parameters
    ----------
    network : in evaluation mode.
    vocabulary : its codes.
    num_known : training subjects behind the counts of the vocabulary.
    site : index of the site whose habits are drawn; 0 for an unknown one.
    how, context : the drawing, and the instants that the network sees at once.
    """
    rng = np.random.default_rng(how.seed)
    facts = static_facts(vocabulary, how.num_subjects, num_known, rng)
    age = np.clip(rng.normal(*how.age_years, how.num_subjects), *_ADULT)
    clock = rng.integers(0, _DAY_S // 60, how.num_subjects) * 60
    sampler = FutureSampler(network, *ends_of(vocabulary), context=context, seed=how.seed)
    parts, is_open = [], []
    for ids in _batches(how.num_subjects, futures_at_once(network, context)):
        begun = _admissions(ids, facts, age, clock, site, how.tick_s or _MINUTE_S, len(vocabulary))
        drawn = sampler.sample(begun, horizon_s=how.horizon_hours * 3600, num_samples=1)
        parts.append(_timed(drawn.events, ids, clock))
        is_open.append(~drawn.ended)
        if bar is not None:
            bar.advance(len(ids))
    name = vocabulary.table["code"]
    start = np.datetime64(_ORIGIN, "s")
    born = start + (clock - np.round(age * _YEAR_S)).astype("timedelta64[s]")
    births = _rows(np.arange(how.num_subjects), born, pl.Series(["MEDS_BIRTH"] * how.num_subjects), np.nan)
    static = _rows(facts.subject, None, name.gather(facts.code), facts.value)
    timed = [
        _rows(part.subject, start + part.seconds.astype("timedelta64[s]"), name.gather(part.code), part.value)
        for part in parts
    ]
    going = np.flatnonzero(np.concatenate(is_open))  # up to the horizon silence is silence
    horizon = start + (clock[going] + round(how.horizon_hours * 3600)).astype("timedelta64[s]")
    cut = _rows(going, horizon, pl.Series([FOLLOW_UP_END] * len(going), dtype=pl.String), np.nan)
    table = pl.concat([static, births, *timed, cut]).with_columns(site=pl.lit(SITE))
    return table.sort("subject_id", "time", maintain_order=True, nulls_last=False)


def write_meds(folder: Path, table: pl.DataFrame, vocabulary: ModelVocabulary) -> None:
    """Write synthetic rows as a MEDS data set whose codes have the words, units and concepts of the run."""
    (folder / "data").mkdir(parents=True)
    (folder / "metadata").mkdir()
    write_table(table, folder / "data" / "0.parquet")
    known = vocabulary.table.filter(pl.col("code").is_in(table["code"].implode()))
    write_table(known.select("code", "description", "unit", "concept"), folder / "metadata" / "codes.parquet")
    named = {"dataset_name": "synthetic", "site_id_column_name": "site"}
    write_json(folder / "metadata" / "dataset.json", named)


def static_facts(
    vocabulary: ModelVocabulary, num_subjects: int, num_known: int, rng: np.random.Generator
) -> EventTable:
    """Facts without a time: of codes without values below one parent at most one each (a sex, a kind of admission);
    those with values on their own, their values normal on the training scale and rounded as recorded."""
    table = vocabulary.table.filter(pl.col("is_static") & (pl.col("count") > 0))
    chosen: list[tuple[Ints, int]] = []
    for _, group in table.filter(~pl.col("has_value")).group_by("parent", maintain_order=True):
        share = group["count"].to_numpy() / max(num_known, int(group["count"].sum()))
        place = np.searchsorted(np.cumsum(share), rng.random(num_subjects), side="right")
        chosen += [(np.flatnonzero(place == k), int(code)) for k, code in enumerate(group["index"])]
    for code, count in table.filter("has_value").select("index", "count").iter_rows():
        chosen.append((np.flatnonzero(rng.random(num_subjects) < count / num_known), int(code)))
    subject = np.concatenate([who for who, _ in chosen]) if chosen else np.empty(0, np.int64)
    code = np.concatenate([np.full(len(who), c) for who, c in chosen]) if chosen else np.empty(0, np.int64)
    at = vocabulary.table[code]
    value = at["loc"].to_numpy() + at["scale"].to_numpy() * rng.standard_normal(len(code))
    tick = at["resolution"].to_numpy()
    value = np.where(tick > 0, np.round(value / np.where(tick > 0, tick, 1)) * tick, value)
    shown = np.where(at["has_value"].to_numpy(), value, np.nan).astype(np.float32)
    order = np.lexsort((shown, code, subject))
    return EventTable(subject, np.zeros(len(code), np.int64), code, shown).take(order)


def _batches(count: int, size: int) -> Iterator[Ints]:
    for first in range(0, count, size):
        yield np.arange(first, min(first + size, count))


def _admissions(
    ids: Ints, facts: EventTable, age: np.ndarray, clock: Ints, site: int, tick_s: float, num_codes: int
) -> Starts:
    """Histories that hold static facts alone: rows of one position."""
    count, mine = len(ids), np.flatnonzero(np.isin(facts.subject, ids))
    own = facts.take(mine)
    row = own.subject - ids[0]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    none = torch.full((len(row),), torch.nan)
    zero, no = torch.zeros(count, 1), torch.zeros(count, 1, dtype=torch.bool)
    batch = Batch(
        segment=torch.arange(count)[:, None],
        order=zero.long(),
        time=zero.double(),
        gap=torch.full((count, 1), torch.nan),
        clock=torch.from_numpy(clock[ids].astype(np.float32))[:, None],
        age=torch.from_numpy(age[ids].astype(np.float32))[:, None],
        tick=torch.full((count, 1), tick_s),
        site=torch.full((count, 1), site),
        is_predicted=no,
        is_gap_predicted=no,
        survival=zero,
        may_end=no,
        event_position=torch.from_numpy(row),
        event_rank=torch.from_numpy(rank),
        code=torch.from_numpy(own.code),
        value=torch.from_numpy(own.value),
        previous_value=none,
        previous_delay=none,
        previous_interval=none,
        times_left=none,
    )
    none_yet = np.empty(0, np.int64)
    nothing = EventTable(none_yet, none_yet, none_yet, np.empty(0, np.float32))
    known = last_known(nothing, num_codes)
    return Starts(
        which=ids,
        subject_id=ids,
        batch=batch,
        length=torch.ones(count, dtype=torch.int64),
        now=torch.zeros(count, dtype=torch.float64),
        last_value=known.value.expand(count, -1),
        last_time=known.time.expand(count, -1),
        last_interval=known.interval.expand(count, -1),
        last_count=known.times.expand(count, -1),
        pasts=[nothing] * count,
    )


def _timed(drawn: SampledEvents, ids: Ints, clock: Ints) -> EventTable:
    """Sampled events with their subjects, in seconds since the midnight before the record began."""
    subject = ids[drawn.sample]
    return EventTable(subject, clock[subject] + drawn.seconds, drawn.code, drawn.value)


def _rows(subject: Ints, time: np.ndarray | None, code: pl.Series, value: np.ndarray | float) -> pl.DataFrame:
    when = (
        pl.Series([None] * len(subject), dtype=pl.Datetime("us"))
        if time is None
        else pl.Series(time.astype("datetime64[us]"))
    )
    number = np.broadcast_to(np.asarray(value, np.float32), len(subject))
    return pl.DataFrame(
        {
            "subject_id": pl.Series(subject, dtype=pl.Int64),
            "time": when,
            "code": code.cast(pl.String),
            "numeric_value": pl.Series(number, dtype=pl.Float32).fill_nan(None),
        }
    )
