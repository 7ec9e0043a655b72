"""What a site tells of its codes and values, coarse enough to tell of no patient, and how what sites tell merges.

A code is told only if at least `min_cell` patients have it. Values are told as a histogram on a grid that is the same
everywhere (32 bins per power of two); a bin is told only if the values of at least `min_cell` patients fall into it.
No smallest or largest value, no date, no identifier is told.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from sojourn.errors import FederationError, UpdateRefusedError
from sojourn.events.arrange import from_ordered_bits, ordered_bits
from sojourn.events.sketch import TICKS, ValueSketch, recorded_tick
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.federated.columns import Form
from sojourn.federated.messages import Message, Tensors
from sojourn.training.records import Ints

_COARSE_BITS = 18
"""Bits of a float that are dropped: 5 of the mantissa stay."""
_FINITE_BINS = tuple((ordered_bits(np.array([-1, 1], np.float32) * np.finfo(np.float32).max) >> _COARSE_BITS).tolist())
"""First and last bin; the patterns outside are those of infinity and of no number."""
_CHECKED_PER_CODE = 1024
_MOST_ROWS, _MOST_SUBJECTS, _MOST_EVENTS = 10_000_000, 1e9, 1e15
"""Of one site; the sums of some thousand sites stay far below what 64 bits hold."""
_FORMS = {
    "codes": Form(
        "codes",
        {
            "code": pl.String(),
            "description": pl.String(),
            "unit": pl.String(),
            "concept": pl.String(),
            "target_only": pl.Boolean(),
            "is_static": pl.Boolean(),
            "events": pl.Int64(),
            "patients": pl.Int64(),
        },
        ("description", "unit", "concept"),  # what a site need not know of a code
    ),
    "bins": Form("bins", {"code": pl.String(), "bin": pl.UInt32(), "count": pl.Int64()}),
    "ticks": Form("ticks", {"code": pl.String(), "tick": pl.Float64(), "count": pl.Int64()}),
}
_KNOWN = ("code", "description", "unit", "concept", "target_only", "is_static")


class Survey(NamedTuple):
    """What one site tells, or several together."""

    codes: pl.DataFrame
    """code, description, unit, concept, target_only, is_static, events i64, patients i64."""
    bins: pl.DataFrame
    """code, bin u32 (leading bits of the value), count i64."""
    ticks: pl.DataFrame
    """code, tick f64, count i64: what some of the values are multiples of; told as bins are."""
    num_subjects: int
    """Training subjects."""


def survey(store: EventStore, rows: Ints, *, min_cell: int) -> Survey:
    """Count the codes and values of some subjects, and keep quiet about what few of them have.

    Parameters
    ----------
    store : the site's store.
    rows : its training subjects.
    min_cell : fewest patients behind anything that is told.

    Raises
    ------
    FederationError
        If there are fewer subjects than `min_cell`: the site cannot take part.
    """
    if len(rows) < min_cell:
        msg = f"a site must have at least {min_cell} training subjects to tell anything; it has fewer. Leave it out."
        raise FederationError(msg)
    codes, bins, ticks = (pl.concat(parts) for parts in zip(*_of_shards(store, rows), strict=True))
    told = codes.group_by("group").agg(pl.col("events", "patients").sum()).filter(pl.col("patients") >= min_cell)
    known = store.vocabulary.select(*_KNOWN).with_row_index("group")
    told = known.join(told.with_columns(pl.col("group").cast(pl.UInt32)), on="group", how="inner").sort("code")
    name = told.select("group", "code")
    full = bins.group_by("group", "bin").agg(pl.col("count", "patients").sum()).filter(pl.col("patients") >= min_cell)
    of_code = (
        ticks.group_by("group", "tick").agg(pl.col("count", "patients").sum()).filter(pl.col("patients") >= min_cell)
    )
    return Survey(
        told.drop("group"),
        full.join(name, on="group").select("code", "bin", "count").sort("code", "bin"),
        of_code.join(name, on="group").select("code", "tick", "count").sort("code", "tick"),
        len(rows),
    )


def _of_shards(store: EventStore, rows: Ints) -> list[tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]]:
    """Events, values and ticks by code, with the numbers of patients, shard by shard (a patient is in one only)."""
    table = store.subjects[rows]
    found = []
    for part in table.with_columns(at=pl.Series(rows)).partition_by("shard", maintain_order=True):
        (block,) = store.blocks(part["at"].to_numpy())
        timed, static = (
            np.repeat(np.arange(len(part)), part[name].to_numpy()) for name in ("num_events", "num_static")
        )
        events = pl.DataFrame(
            {
                "group": np.concatenate([block.code, block.static_code]).astype(np.uint32),
                "value": np.concatenate([block.value, block.static_value]),
                "who": np.concatenate([timed, static]),
            }
        )
        found.append((_patients(events, "group", "events"), *_values(events.filter(pl.col("value").is_not_nan()))))
    return found


def _patients(events: pl.DataFrame, by: str | list[str], count: str) -> pl.DataFrame:
    return events.group_by(by).agg(
        pl.len().cast(pl.Int64).alias(count), patients=pl.col("who").n_unique().cast(pl.Int64)
    )


def _values(events: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Histogram and recorded ticks of values."""
    values = events["value"].to_numpy() + np.float32(0)
    binned = events.with_columns(bin=pl.Series(ordered_bits(values) >> np.uint32(_COARSE_BITS)))
    # Spread over all: the first values of what is charted hourly are those of one or two patients, and withheld.
    every = (pl.len().over("group") - 1).floordiv(_CHECKED_PER_CODE) + 1
    few = events.filter(pl.col("value") != 0).filter(pl.int_range(pl.len()).over("group") % every == 0)
    few = few.with_columns(tick=pl.Series(recorded_tick(few["value"].to_numpy())))
    return _patients(binned, ["group", "bin"], "count"), _patients(few, ["group", "tick"], "count")


def merge(surveys: Sequence[Survey]) -> Survey:
    """What several sites tell together; the order of the sites does not matter.

    Words of a code are those of the site that has most events of it.
    """
    codes = pl.concat([one.codes for one in surveys])
    codes = codes.sort("code", "events", "description", descending=[False, True, False])
    first = [pl.col(name).drop_nulls().first() for name in ("description", "unit", "concept")]
    together = codes.group_by("code", maintain_order=True).agg(
        *first, pl.col("target_only", "is_static").all(), pl.col("events", "patients").sum()
    )
    bins, ticks = (
        pl.concat([getattr(one, name) for one in surveys])
        .group_by("code", key)
        .agg(pl.col("count").sum())
        .sort("code", key)
        for name, key in (("bins", "bin"), ("ticks", "tick"))
    )
    num_subjects = sum(one.num_subjects for one in surveys)
    return Survey(together.select(surveys[0].codes.columns), bins, ticks, num_subjects)


def fit_vocabulary(told: Survey, *, min_count: int) -> ModelVocabulary:
    """The vocabulary that all sites train with, as `ModelVocabulary.fit` would make it from the pooled records, but
    for the width of the bins (3 %) and for what was kept quiet."""
    group = told.codes.select("code").with_row_index("group")
    sketch = _as_sketch(told, group)
    return ModelVocabulary.from_survey(
        told.codes.select(*_KNOWN), told.codes["events"].to_numpy(), sketch, min_count=min_count
    )


def _as_sketch(told: Survey, group: pl.DataFrame) -> ValueSketch:
    """The histogram as if every value stood in the middle of its bin, or at the recorded tick nearest to it."""
    tick = told.ticks.sort("code", "count", "tick").group_by("code", maintain_order=True).agg(pl.col("tick").last())
    bins = told.bins.join(group, on="code").join(tick, on="code", how="left", maintain_order="left")
    value = _middle(bins["bin"].to_numpy().astype(np.uint32), bins["tick"].fill_null(0.0).to_numpy())
    bins = bins.with_columns(smallest=pl.Series(value), bin=pl.Series(ordered_bits(value))).sort("group", "bin")
    weight, x = pl.col("count"), pl.col("smallest").cast(pl.Float64)
    mean = (weight * x).sum() / weight.sum()
    moments = bins.group_by("group", maintain_order=True).agg(
        n=weight.sum(),
        mean=mean,
        m2=(weight * (x - mean) ** 2).sum(),
        min=pl.col("smallest").min(),
        max=pl.col("smallest").max(),
    )
    ticks = told.ticks.join(group, on="code").select("group", "tick", "count").sort("group", "tick")
    return ValueSketch(bins.select("group", "bin", "smallest", "count"), moments, ticks)


def _middle(bins: npt.NDArray[np.uint32], tick: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """A value for each bin: the recorded one nearest to its middle, if it lies inside."""
    low = from_ordered_bits(bins << np.uint32(_COARSE_BITS)).astype(np.float64)
    high = from_ordered_bits(((bins + np.uint32(1)) << np.uint32(_COARSE_BITS)) - np.uint32(1)).astype(np.float64)
    middle = (low + high) / 2
    step = np.where(tick > 0, tick, min(TICKS))
    snapped = np.round(middle / step) * step
    is_inside = (snapped >= np.minimum(low, high)) & (snapped <= np.maximum(low, high))
    return np.where(is_inside, snapped, middle).astype(np.float32)


def to_message(told: Survey) -> Message:
    """A survey as an answer."""
    arrays: Tensors = {}
    for name, form in _FORMS.items():
        arrays |= form.pack(getattr(told, name))
    return Message("survey", 0, arrays, {"num_subjects": float(told.num_subjects)})


def from_message(message: Message) -> Survey:
    """What `to_message` packed.

    Raises
    ------
    UpdateRefusedError
        If it is anything else (``malformed``).
    """
    names = set[str]().union(*(form.names for form in _FORMS.values()))
    if message.tensors.keys() != names or message.numbers.keys() != {"num_subjects"}:
        msg = "a survey must hold its tables of codes, bins and ticks and the number of subjects; it holds others."
        raise UpdateRefusedError("malformed", msg)
    if not 1 <= (number := message.numbers["num_subjects"]) <= _MOST_SUBJECTS:
        raise UpdateRefusedError("malformed", "a survey must tell of as many subjects as can be; it does not.")
    codes, bins, ticks = (form.read(message.tensors) for form in _FORMS.values())
    told = Survey(codes, bins, ticks, int(number))
    if problem := _problem_of(told):
        raise UpdateRefusedError("malformed", f"a survey must tell what can be; {problem}.")
    return told


def _problem_of(told: Survey) -> str:
    """What cannot be in a stranger's survey; the empty text if nothing."""
    counts = [told.codes.select("events", "patients"), told.bins.select("count"), told.ticks.select("count")]
    columns = [column for table in counts for column in table.iter_columns()]
    if max(map(len, columns)) > _MOST_ROWS:
        return "it has too many rows"
    if any((column < 0).any() or column.cast(pl.Float64).sum() > _MOST_EVENTS for column in columns):
        return "a count is negative or more than a hospital can have"
    if told.codes["code"].is_duplicated().any():
        return "a code is told twice"
    if (told.codes["events"] < told.codes["patients"]).any():
        return "there are fewer events than patients who have one"
    if (told.codes["patients"] > told.num_subjects).any():
        return "there are fewer subjects than have a code"
    if any(_is_more_than_events(told.codes, table) for table in (told.bins, told.ticks)):
        return "there are more values of a code than events, or values of a code that is not told"
    if not told.bins["bin"].is_between(*_FINITE_BINS).all():
        return "a bin holds no finite number"
    if not told.ticks["tick"].is_in([0.0, *TICKS]).all():
        return "values are multiples of what is not asked for"
    return ""


def _is_more_than_events(codes: pl.DataFrame, counted: pl.DataFrame) -> bool:
    """Whether more is counted of a code than it has events; codes that are not told have none."""
    total = counted.group_by("code").agg(pl.col("count").sum())
    beside = total.join(codes.select("code", "events"), on="code", how="left")
    return bool((beside["count"] > beside["events"].fill_null(-1)).any())
