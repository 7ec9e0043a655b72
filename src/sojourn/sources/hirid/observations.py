"""HiRID: monitors, laboratory, ventilator, scores and fluid balance, all in one table in parts."""

import polars as pl

from sojourn.sources.casts import to_integer, to_number, to_time
from sojourn.sources.hirid.known import COUNTS, WEIGHT, Known, events_of, join_patient
from sojourn.sources.recipes import Converted, Emit, Recipe, answer, code_for

CIRCULATION = ("200", "110", "610")
"""Heart rate and mean arterial pressures: while they are recorded, the patient is there."""
_WEIGHTS_KG = (20.0, 400.0)


def _observations(frame: pl.DataFrame, known: Known) -> Converted:
    """One event a row; see the module's docstring for choices and counters."""
    frame = join_patient(frame, known).with_columns(
        _variable=to_integer(pl.col("variableid")).cast(pl.String),
        _time=to_time(pl.col("datetime")),
        _number=to_number(pl.col("value")),
    )
    _remember(frame, known)
    frame = _with_increments(frame.with_columns(_value=to_integer(pl.col("value"))), known)
    frame = frame.join(known.ordinals, on=["_variable", "_value"], how="left", maintain_order="left")
    written = pl.col("stringvalue").cast(pl.String)
    said = pl.coalesce("_word", answer(written, pl.col("_number")))
    counter = pl.when(pl.col("_is_counter")).then(pl.col("value").cast(pl.String))
    number = pl.when(pl.col("_is_counter")).then("_increment").otherwise("_number")
    code = code_for("OBSERVATION", pl.col("_variable"), said)
    emits = [Emit(code, pl.col("_time"), number, written.fill_null(counter))]
    nothing = ("no_value", pl.col("_number").is_null() & written.is_null())
    return events_of(frame, known, emits, [nothing])


def _remember(frame: pl.DataFrame, known: Known) -> None:
    """Note first weights and last observations."""
    rows = frame.filter(pl.col("_is_known"), pl.col("_time").is_not_null())
    weights = rows.filter(pl.col("_variable") == WEIGHT, pl.col("_number").is_between(*_WEIGHTS_KG)).sort("_time")
    for patient, weight in weights.unique("_patient", keep="first").select("_patient", "_number").iter_rows():
        known.weights.setdefault(patient, weight)
    beating = pl.col("_variable").is_in(CIRCULATION) & pl.col("_number").is_not_null()
    last = rows.group_by("_patient", beating.alias("_beats")).agg(pl.col("_time").max())
    for patient, beats, time in last.iter_rows():
        known.ends[patient] = max(known.ends.get(patient, (beats, time)), (beats, time))


def _with_increments(frame: pl.DataFrame, known: Known) -> pl.DataFrame:
    """Add `_is_counter` and `_increment`: what a counter rose by since the value before, also of an earlier batch."""
    is_counter = (pl.col("_variable").is_in(known.counters) & pl.col("_number").is_not_null()).fill_null(value=False)
    frame = frame.with_columns(_is_counter=is_counter)
    here = frame.filter("_is_counter", pl.col("_time").is_not_null()).select(*COUNTS)
    earlier = known.counts.join(here, on=["_patient", "_variable"], how="semi")
    counted = pl.concat([earlier, here]).sort("_time", "row")
    before = pl.col("_number").shift().over("_patient", "_variable")
    rise = pl.col("_number") - before
    told = counted.select("row", _increment=pl.when(rise >= 0).then(rise).otherwise("_number")).drop_nulls("row")
    last = counted.drop_nulls("_patient").unique(["_patient", "_variable"], keep="last", maintain_order=True)
    others = known.counts.join(here, on=["_patient", "_variable"], how="anti")
    known.counts = pl.concat([others, last.with_columns(row=pl.lit(None, pl.UInt64))])
    return frame.join(told, on="row", how="left", maintain_order="left")


RECIPE = Recipe(
    "observation_tables",
    _observations,
    ("patientid", "datetime", "variableid", "value"),
    ("stringvalue",),
    "all observations: vital signs, laboratory, ventilator, fluid balance",
)
