"""Norepinephrine equivalents: the doses of several vasopressors as one."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from sojourn.concepts.derived.axis import Ints, distinct
from sojourn.concepts.derived.record import Floats, Points, Record, gather, read_record
from sojourn.concepts.derived.steps import latest
from sojourn.concepts.derived.treatments import infusion, steps_of
from sojourn.errors import ConfigError

CODE = "DERIVED//norepinephrine_equivalent"


@dataclass(frozen=True, slots=True, kw_only=True)
class NorepinephrineSettings:
    """What a unit of each drug's rate is worth, in mcg/kg/min of norepinephrine.

    The defaults are those of Khanna et al. (2017), which ricu uses as well; vasopressin is in U/min, the other drugs in
    mcg/kg/min. Goradia et al. (2021) give dopamine 1/100.
    """

    norepinephrine: float = 1.0
    epinephrine: float = 1.0
    dopamine: float = 1 / 150
    phenylephrine: float = 1 / 10
    vasopressin: float = 2.5
    open_hours: float = 24
    """A rate counts until the next mark of its drug, for so long at most."""

    def __post_init__(self) -> None:
        if min(self.factors().values()) < 0 or self.open_hours <= 0:
            msg = f"factors must not be negative and open_hours must be positive; got {self}."
            raise ConfigError(msg)

    def factors(self) -> dict[str, float]:
        """Drug -> its factor."""
        drugs = ("norepinephrine", "epinephrine", "dopamine", "phenylephrine", "vasopressin")
        return {drug: getattr(self, drug) for drug in drugs}


def roots(settings: NorepinephrineSettings | None = None) -> tuple[str, ...]:
    """The codes that `norepinephrine_equivalent` reads."""
    drugs = (settings or NorepinephrineSettings()).factors()
    return tuple(f"CONCEPT//{drug}//{mark}" for drug in drugs for mark in ("start", "end"))


def norepinephrine_equivalent(events: pl.DataFrame, settings: NorepinephrineSettings | None = None) -> pl.DataFrame:
    """The sum of the running vasopressors in norepinephrine equivalents, wherever a rate changes.

    Parameters
    ----------
    events : subject_id i64, time, code (after the mapping to concepts), numeric_value; whole subjects, in any order.

    Returns
    -------
    polars.DataFrame
        The same columns. `DERIVED//norepinephrine_equivalent` in mcg/kg/min at each start, change and end of a drug; it
        holds until the next one and is null while a drug runs at a rate that is not known.

    References
    ----------
    Khanna A, et al. Angiotensin II for the treatment of vasodilatory shock. N Engl J Med 2017;377:419-430 (appendix).
    Goradia S, et al. Vasopressor dose equivalence: a scoping review and suggested formula. J Crit Care 2021;61:233-240.

    Examples
    --------
    >>> from datetime import datetime
    >>> noon = datetime(2020, 1, 1, 12)
    >>> events = pl.DataFrame({"subject_id": [1, 1], "time": [noon, noon], "numeric_value": [0.1, 0.04],
    ...                        "code": ["CONCEPT//norepinephrine//start", "CONCEPT//vasopressin//start"]})
    >>> norepinephrine_equivalent(events).select(pl.col("numeric_value").cast(float).round(3)).to_series().to_list()
    [0.2]
    """
    settings = settings or NorepinephrineSettings()
    return gather(equivalent_events(read_record(events, roots(settings)), settings))


def equivalent_events(record: Record, settings: NorepinephrineSettings) -> list[pl.DataFrame]:
    """`norepinephrine_equivalent` of rows that are sorted already."""
    runs = {drug: infusion(record, drug, open_hours=settings.open_hours) for drug in settings.factors()}
    places = distinct(np.concatenate([side for run in runs.values() for side in (run.begin, run.end)]))
    places = places[record.is_told(places)]
    total = np.zeros(len(places))
    for drug, factor in settings.factors().items():
        if factor:
            total += factor * _rate_at(steps_of(runs[drug]), places)
    return [record.axis.events(places, CODE, total)]


def _rate_at(steps: Points, places: Ints) -> Floats:
    """The rate at each place: 0 before the first step, NaN where the drug runs at an unknown rate."""
    is_before = np.isnan(latest(Points(steps.place, np.zeros(len(steps.place))), places))
    return np.where(is_before, 0.0, latest(steps, places))
