"""Acute kidney injury after KDIGO: stages by creatinine, urine and renal replacement therapy, and its onset."""

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from sojourn.concepts.derived.axis import HOUR, Ints, distinct
from sojourn.concepts.derived.creatinine import creatinine_stages
from sojourn.concepts.derived.oliguria import urine_onsets, urine_stages
from sojourn.concepts.derived.record import Floats, Points, Record, gather, read_record
from sojourn.concepts.derived.rrt import RRT
from sojourn.concepts.derived.stays import ROOTS, find_stays
from sojourn.concepts.derived.steps import latest
from sojourn.concepts.derived.treatments import EpisodeSettings, covers
from sojourn.concepts.derived.urine import URINE, UrineSettings, find_collections
from sojourn.errors import ConfigError

CODE = "DERIVED//kdigo"


@dataclass(frozen=True, slots=True, kw_only=True)
class KdigoSettings:
    """How stages are found and how long one holds."""

    baseline_days: float = 7
    """Ratios are taken against the lowest creatinine of so many days."""
    urine: UrineSettings = field(default_factory=UrineSettings)
    rrt: EpisodeSettings = RRT
    """Renal replacement therapy is stage 3 while it runs."""
    creatinine_hours: float = 48
    """A stage by creatinine holds until the next creatinine, for so long at most."""
    urine_hours: float = 24
    """A stage by urine holds until the next charting, for so long at most."""

    def __post_init__(self) -> None:
        # Windows of different subjects must not meet on the axis.
        if not 2 <= self.baseline_days <= 365 or min(self.creatinine_hours, self.urine_hours) <= 0:
            msg = f"baseline_days must be from 2 to 365 and the hours positive; got {self}."
            raise ConfigError(msg)


def roots(settings: KdigoSettings | None = None) -> tuple[str, ...]:
    """The codes that `kdigo` reads."""
    marks = (settings or KdigoSettings()).rrt.roots()
    return ("CONCEPT//creatinine", "CONCEPT//weight", *URINE, *marks, *ROOTS)


def kdigo(events: pl.DataFrame, settings: KdigoSettings | None = None) -> pl.DataFrame:
    """KDIGO stages, each when it is known.

    Parameters
    ----------
    events : subject_id i64, time, code (after the mapping to concepts), numeric_value; whole subjects, in any order.

    Returns
    -------
    polars.DataFrame
        The same columns; values are stages 0 to 3.

        * `DERIVED//kdigo//stage_creatinine` at each creatinine;
        * `DERIVED//kdigo//stage_urine` at each charting of urine for which six hours are covered and a weight is known;
        * `DERIVED//kdigo//stage` wherever a criterion is looked at or therapy starts or ends: the worst that holds.

    References
    ----------
    KDIGO clinical practice guideline for acute kidney injury. Kidney Int Suppl 2012;2:1-138, table 2.

    Examples
    --------
    >>> from datetime import datetime
    >>> events = pl.DataFrame({"subject_id": 1, "time": [datetime(2020, 1, day) for day in (1, 2, 5)],
    ...                        "code": "CONCEPT//creatinine", "numeric_value": [1.0, 1.3, 2.1]})
    >>> kdigo(events).filter(pl.col("code") == "DERIVED//kdigo//stage")["numeric_value"].to_list()
    [0.0, 1.0, 2.0]
    """
    settings = settings or KdigoSettings()
    return gather(kdigo_events(read_record(events, roots(settings)), settings))


def kdigo_events(record: Record, settings: KdigoSettings) -> list[pl.DataFrame]:
    """`kdigo` of rows that are sorted already."""
    creatinine = _by_creatinine(record, settings)
    urine = Points(*urine_stages(find_collections(record, settings.urine)))
    run = covers(record, settings.rrt)
    edges = np.concatenate([run.begin, run.end])
    places = distinct(np.concatenate([creatinine.place, urine.place, edges[record.is_told(edges)]]))
    stage = np.fmax(
        latest(creatinine, places, round(settings.creatinine_hours * HOUR)),
        latest(urine, places, round(settings.urine_hours * HOUR)),
    )
    stage = np.fmax(stage, np.where(run.covers(places), 3.0, 0.0))
    return [
        record.axis.events(creatinine.place, f"{CODE}//stage_creatinine", creatinine.value),
        record.axis.events(urine.place, f"{CODE}//stage_urine", urine.value),
        record.axis.events(places, f"{CODE}//stage", stage),
    ]


def kdigo_onsets(record: Record, settings: KdigoSettings) -> dict[int, Ints]:
    """Where acute kidney injury of at least stage 1, 2 and 3 begins: the first sign of each stay from `Stays.since` on.

    By urine this is where the mean of a window falls below the threshold, which is known only at the next charting: an
    outcome, not an input.
    """
    stays, creatinine = find_stays(record), _by_creatinine(record, settings)
    by_urine = urine_onsets(find_collections(record, settings.urine))
    by_therapy = covers(record, settings.rrt).begin
    return {
        stage: stays.first_in_each(
            distinct(np.concatenate([creatinine.place[creatinine.value >= stage], by_urine[stage], by_therapy]))
        )
        for stage in (1, 2, 3)
    }


def _by_creatinine(record: Record, settings: KdigoSettings) -> Points:
    """Stage at each creatinine; of several at one time the worst."""
    values = record.values("creatinine")
    stages: Floats = creatinine_stages(values, settings.baseline_days)
    place, index = np.unique(values.place, return_inverse=True)
    stage = np.zeros(len(place))
    np.maximum.at(stage, index, stages)
    return Points(place, stage)
