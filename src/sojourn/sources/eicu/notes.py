"""eICU: diagnoses, history, examinations, assessments and plans that people picked from lists."""

from functools import partial

import polars as pl

from sojourn.sources.casts import to_number
from sojourn.sources.eicu.known import STAY, Known, at, events_of, join_stay
from sojourn.sources.recipes import (
    Converted,
    Emit,
    Recipe,
    answer,
    code_for,
    code_of,
    first_of,
    label,
    measured,
    path_levels,
)

_EXAM_PREFIX = r"^notes/Progress Notes/Physical Exam/(?:Physical Exam/)?"
_HISTORY_PREFIX = r"^notes/Progress Notes/Past History/(?:Organ Systems/)?"
_APACHE_MINUTES = 24 * 60
APACHE = (
    "intubated",
    "vent",
    "dialysis",
    "eyes",
    "motor",
    "verbal",
    "meds",
    "urine",
    "wbc",
    "temperature",
    "respiratoryrate",
    "sodium",
    "heartrate",
    "meanbp",
    "ph",
    "hematocrit",
    "creatinine",
    "albumin",
    "pao2",
    "pco2",
    "bun",
    "glucose",
    "bilirubin",
    "fio2",
)
"""Columns of ``apacheApsVar``."""


def _path(frame: pl.DataFrame, known: Known, *, family: str, offset: str, path: str, prefix: str = "") -> Converted:
    """One event a row, whose code is a path of labels from general to special."""
    separator = "/" if prefix.startswith("^notes") else "|"
    bare = pl.col(path).cast(pl.String).str.replace(prefix, "") if prefix else pl.col(path)
    return events_of(frame, known, [Emit(code_for(family, path_levels(bare, separator)), at(offset))])


def _diagnosis(frame: pl.DataFrame, known: Known) -> Converted:
    """A diagnosis that the care team made or confirmed; the text is its ICD-9 and ICD-10 code."""
    code = code_for("DIAGNOSIS", path_levels(pl.col("diagnosisstring"), "|"))
    return events_of(frame, known, [Emit(code, at("diagnosisoffset"), text=pl.col("icd9code").cast(pl.String))])


def _physicalexam(frame: pl.DataFrame, known: Known) -> Converted:
    """Findings; where the last level of the path is the number itself (coma scale), it becomes the value."""
    frame = measured(frame, None, "physicalexamtext")
    bare = pl.col("physicalexampath").cast(pl.String).str.replace(_EXAM_PREFIX, "")
    number = pl.col("_number")
    path = pl.when(number.is_not_null()).then(bare.str.replace(r"/\d+(?:\.\d+)?$", "")).otherwise(bare)
    said = pl.when(pl.col("_text") != pl.col("physicalexamvalue")).then(pl.col("_text"))
    code = code_for("EXAM", path_levels(path, "/"))
    return events_of(frame, known, [Emit(code, at("physicalexamoffset"), number, said, pl.col("_bound"))])


def _listed(
    frame: pl.DataFrame, known: Known, *, family: str, offset: str, names: tuple[str, ...], value: str
) -> Converted:
    """One event a row: what was looked at (`names`, general to special) and the answer."""
    frame = measured(frame, None, value)
    first, *others = (label(pl.col(name)) for name in names)
    code = code_for(family, first, *others, answer(pl.col("_text"), pl.col("_number")))
    return events_of(frame, known, [Emit(code, at(offset), pl.col("_number"), pl.col("_text"), pl.col("_bound"))])


def _named(frame: pl.DataFrame, known: Known, *, family: str, offset: str, names: tuple[str, ...]) -> Converted:
    """One event a row, whose code is made of some columns, general to special."""
    levels = [label(pl.col(name)) for name in names]
    code = pl.when(pl.any_horizontal(level.is_not_null() for level in levels)).then(code_of(family, *levels))
    return events_of(frame, known, [Emit(code, at(offset))])


def _end_of_life(frame: pl.DataFrame, known: Known) -> Converted:
    """The end of life was talked about."""
    return events_of(frame, known, [Emit(pl.lit("CARE_PLAN//end of life discussion"), at("cpleolsaveoffset"))])


def _microlab(frame: pl.DataFrame, known: Known) -> Converted:
    """A culture was taken; what grew has no time of its own, so it cannot be told without telling the future."""
    code = code_of("CULTURE_TAKEN", label(pl.col("culturesite")))
    once = first_of(STAY, "culturetakenoffset", "culturesite")
    emits = [Emit(code, at("culturetakenoffset"))]
    return events_of(frame, known, emits, [("result_without_time", ~once)])


def _apache(frame: pl.DataFrame, known: Known) -> Converted:
    """Worst values of the first day, known when it is over; -1 means none."""
    frame = join_stay(frame, known)
    emits = []
    for column in APACHE:
        value = to_number(pl.col(column))
        emits.append(Emit(pl.lit(f"APACHE//{column}"), at(pl.lit(_APACHE_MINUTES)), value, when=value != -1))
    short = ("stay_shorter_than_a_day", pl.col("_stay_minutes") < _APACHE_MINUTES)
    return events_of(frame, known, emits, [short])


def _note(frame: pl.DataFrame, known: Known) -> Converted:
    """Free text is not read; its rows are counted."""
    return events_of(frame, known, [], [("free_text_is_not_read", pl.lit(value=True))])


RECIPES = (
    Recipe(
        "admissionDx",
        partial(
            _path,
            family="ADMISSION_DIAGNOSIS",
            offset="admitdxenteredoffset",
            path="admitdxpath",
            prefix=r"^admission diagnosis\|",
        ),
        (STAY, "admitdxenteredoffset", "admitdxpath"),
        lost="reasons for admission",
    ),
    Recipe(
        "diagnosis",
        _diagnosis,
        (STAY, "diagnosisoffset", "diagnosisstring"),
        ("icd9code",),
        "diagnoses",
    ),
    Recipe(
        "pastHistory",
        partial(_path, family="HISTORY", offset="pasthistoryoffset", path="pasthistorypath", prefix=_HISTORY_PREFIX),
        (STAY, "pasthistoryoffset", "pasthistorypath"),
        lost="past illnesses",
    ),
    Recipe(
        "allergy",
        partial(_named, family="ALLERGY", offset="allergyoffset", names=("allergytype", "allergyname")),
        (STAY, "allergyoffset"),
        ("allergytype", "allergyname"),
        "allergies",
    ),
    Recipe(
        "physicalExam",
        _physicalexam,
        (STAY, "physicalexamoffset", "physicalexampath"),
        ("physicalexamvalue", "physicalexamtext"),
        "physical examinations",
    ),
    Recipe(
        "nurseAssessment",
        partial(
            _listed,
            family="ASSESSMENT",
            offset="nurseassessoffset",
            names=("celllabel", "cellattribute"),
            value="cellattributevalue",
        ),
        (STAY, "nurseassessoffset", "celllabel"),
        ("cellattribute", "cellattributevalue"),
        "nurses' assessments",
    ),
    Recipe(
        "nurseCare",
        partial(
            _listed,
            family="NURSE_CARE",
            offset="nursecareoffset",
            names=("celllabel", "cellattribute"),
            value="cellattributevalue",
        ),
        (STAY, "nursecareoffset", "celllabel"),
        ("cellattribute", "cellattributevalue"),
        "nursing care",
    ),
    Recipe(
        "carePlanGeneral",
        partial(_named, family="CARE_PLAN", offset="cplitemoffset", names=("cplgroup", "cplitemvalue")),
        (STAY, "cplitemoffset"),
        ("cplgroup", "cplitemvalue"),
        "plans of care, limits of care among them",
    ),
    Recipe(
        "carePlanGoal",
        partial(
            _named,
            family="CARE_GOAL",
            offset="cplgoaloffset",
            names=("cplgoalcategory", "cplgoalvalue", "cplgoalstatus"),
        ),
        (STAY, "cplgoaloffset"),
        ("cplgoalcategory", "cplgoalvalue", "cplgoalstatus"),
        "goals of care",
    ),
    Recipe(
        "carePlanInfectiousDisease",
        partial(
            _named,
            family="INFECTION",
            offset="cplinfectdiseaseoffset",
            names=("infectdiseasesite", "infectdiseaseassessment"),
        ),
        (STAY, "cplinfectdiseaseoffset"),
        ("infectdiseasesite", "infectdiseaseassessment"),
        "suspected and proven infections",
    ),
    Recipe(
        "carePlanEOL",
        _end_of_life,
        (STAY, "cpleolsaveoffset"),
        lost="talks about the end of life",
    ),
    Recipe(
        "microLab",
        _microlab,
        (STAY, "culturetakenoffset"),
        ("culturesite", "organism", "antibiotic", "sensitivitylevel"),
        "cultures",
    ),
    Recipe(
        "apacheApsVar",
        _apache,
        (STAY,),
        APACHE,
        "worst values of the first day",
    ),
    Recipe("note", _note, (STAY, "noteid"), lost="the count of notes"),
)
