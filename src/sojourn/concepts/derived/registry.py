"""All derivations by name: one table of events in, derived events or onsets out."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import polars as pl

from sojourn.concepts.derived import infection, kdigo, norepinephrine, rrt, sepsis, sofa, urine, ventilation
from sojourn.concepts.derived.axis import Ints
from sojourn.concepts.derived.record import Record, gather, read_record
from sojourn.concepts.derived.recorded_kdigo import URINE as RECORDED_URINE
from sojourn.concepts.derived.recorded_kdigo import recorded_onset
from sojourn.concepts.derived.sofa_organs import ORGANS
from sojourn.concepts.derived.sofa_settings import SofaSettings
from sojourn.concepts.derived.treatments import episode_events
from sojourn.errors import ConfigError


class Derivation(NamedTuple):
    """Something that can be derived with the default settings."""

    roots: tuple[str, ...]
    """It reads these codes and those below them."""
    make: Callable[[Record], list[pl.DataFrame]]
    codes: dict[str, tuple[str, str | None]]
    """Code that it gives -> description, unit."""
    needs: tuple[str, ...]
    """Where none of these occurs there is nothing to derive."""


def _sofa(record: Record) -> list[pl.DataFrame]:
    settings = SofaSettings()
    return sofa.sofa_events(record, sofa.score(record, settings), settings)


_PART = {name: name.replace("_", " ") for name in ORGANS}
SCORES: dict[str, Derivation] = {
    "sofa": Derivation(
        sofa.roots(),
        _sofa,
        {
            f"{sofa.CODE}//total": ("SOFA score, unobserved components 0", "points"),
            f"{sofa.OBSERVED}//total": ("SOFA score of the observed components", "points"),
            f"{sofa.OBSERVED}//components": ("observed components of the SOFA score", "components"),
            f"{sofa.OBSERVED}//highest": ("SOFA score if unobserved components were 4", "points"),
            **{f"{sofa.CODE}//{name}": (f"SOFA: {part}, unobserved is 0", "points") for name, part in _PART.items()},
            **{f"{sofa.OBSERVED}//{name}": (f"SOFA: {part}", "points") for name, part in _PART.items()},
        },
        ("ICU_ADMISSION",),
    ),
    "norepinephrine_equivalent": Derivation(
        norepinephrine.roots(),
        lambda record: norepinephrine.equivalent_events(record, norepinephrine.NorepinephrineSettings()),
        {norepinephrine.CODE: ("vasopressors as norepinephrine", "mcg/kg/min")},
        norepinephrine.roots(),
    ),
    "ventilation": Derivation(
        ventilation.INVASIVE.roots(),
        lambda record: episode_events(record, ventilation.INVASIVE, ventilation.CODE),
        {
            f"{ventilation.CODE}//start": ("an episode of invasive ventilation begins", None),
            f"{ventilation.CODE}//end": ("an episode of invasive ventilation has ended; its length", "h"),
        },
        ("CONCEPT//ventilation", *ventilation.INVASIVE.evidence),
    ),
    "rrt": Derivation(
        rrt.RRT.roots(),
        lambda record: episode_events(record, rrt.RRT, rrt.CODE),
        {
            f"{rrt.CODE}//start": ("an episode of renal replacement therapy begins", None),
            f"{rrt.CODE}//end": ("an episode of renal replacement therapy has ended; its length", "h"),
        },
        ("CONCEPT//rrt",),
    ),
    "urine_rate": Derivation(
        urine.roots(),
        lambda record: urine.urine_events(record, urine.UrineSettings()),
        {urine.CODE: ("urine rate since the charting before", "mL/kg/h")},
        urine.URINE[:2],
    ),
    "kdigo": Derivation(
        kdigo.roots(),
        lambda record: kdigo.kdigo_events(record, kdigo.KdigoSettings()),
        {
            f"{kdigo.CODE}//stage": ("KDIGO stage of acute kidney injury", "stage"),
            f"{kdigo.CODE}//stage_creatinine": ("KDIGO stage by creatinine", "stage"),
            f"{kdigo.CODE}//stage_urine": ("KDIGO stage by urine", "stage"),
        },
        ("CONCEPT//creatinine", *urine.URINE[:2], "CONCEPT//rrt"),
    ),
    "suspected_infection": Derivation(
        infection.roots(),
        lambda record: infection.infection_events(record, infection.InfectionSettings()),
        {infection.CODE: ("an antibiotic and a culture have come together; hours since the earlier", "h")},
        infection.ANTIBIOTICS,
    ),
}
"""Scores and episodes: nothing in them is known later than its time."""


class Onset(NamedTuple):
    """An outcome that can be derived with the default settings."""

    roots: tuple[str, ...]
    find: Callable[[Record], dict[str, Ints]]
    """Name -> places, of this outcome and of those that are found along with it."""
    needs: tuple[str, ...]
    """Where none of these occurs it cannot be seen."""


def _kidney(record: Record) -> dict[str, Ints]:
    by_stage = kdigo.kdigo_onsets(record, kdigo.KdigoSettings())
    return {"aki_kdigo": by_stage[1], "kdigo_stage_2": by_stage[2], "kdigo_stage_3": by_stage[3]}


def _recorded_kidney(record: Record) -> dict[str, Ints]:
    return {"aki_kdigo_recorded": recorded_onset(record)}


def _sepsis(record: Record) -> dict[str, Ints]:
    return {"sepsis3": sepsis.sepsis_onset(record), "sepsis3_recorded": sepsis.recorded_onset(record)}


_INJURY = Onset(kdigo.roots(), _kidney, ("CONCEPT//creatinine", *urine.URINE[:2], "CONCEPT//rrt"))
_INFECTED = Onset((*sofa.roots(), *infection.roots()), _sepsis, infection.ANTIBIOTICS)
ONSETS: dict[str, Onset] = {
    "aki_kdigo": _INJURY,
    "kdigo_stage_2": _INJURY,
    "kdigo_stage_3": _INJURY,
    "aki_kdigo_recorded": _INJURY._replace(
        roots=(*kdigo.roots(), "HOSPITAL_DISCHARGE", *(f"CONCEPT//{name}" for name in RECORDED_URINE)),
        find=_recorded_kidney,
    ),
    "sepsis3": _INFECTED,
    "sepsis3_recorded": _INFECTED,
}
"""Onsets, which look ahead: they are outcomes, `OUTCOME//<name>`, and never inputs."""


def derive_scores(events: pl.DataFrame, names: Iterable[str] | None = None) -> pl.DataFrame:
    """Derive several scores from one table of events.

    Parameters
    ----------
    events : subject_id i64, time datetime[us] (null: static, ignored), code (after the mapping to concepts),
        numeric_value; whole subjects, in any order.
    names : keys of `SCORES`; all without them.

    Returns
    -------
    polars.DataFrame
        The derived events alone, with the same columns, sorted by subject, time and code.

    Raises
    ------
    ConfigError
        If a name is not known.
    """
    wanted = list(SCORES) if names is None else list(names)
    unknown = [name for name in wanted if name not in SCORES]
    if unknown:
        msg = f"scores must be among {', '.join(SCORES)}; got {', '.join(unknown)}."
        raise ConfigError(msg)
    record = read_record(events, [root for name in wanted for root in SCORES[name].roots])
    return gather(
        table for name in wanted if _occurs(record, SCORES[name].needs) for table in SCORES[name].make(record)
    )


def derive_onsets(events: pl.DataFrame, names: Sequence[str]) -> dict[str, pl.DataFrame]:
    """Find onsets (keys of `ONSETS`) in one table of events: name -> `subject_id, time`.

    `events` is as for `derive_scores`. An onset may stand before the row that tells it: it is an outcome, no input.
    """
    record = read_record(events, [root for name in names for root in ONSETS[name].roots], until="read")
    found: dict[str, Ints] = {}
    for name in names:
        if name not in found and _occurs(record, ONSETS[name].needs):
            found |= ONSETS[name].find(record)
    nothing = record.place[:0]
    return {name: record.axis.events(found.get(name, nothing), name).select("subject_id", "time") for name in names}


def _occurs(record: Record, roots: Sequence[str]) -> bool:
    return len(record.rows(*roots).place) > 0
