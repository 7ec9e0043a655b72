"""Do rows of the registry hold together, and does each code mean what its source's own words say."""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import NamedTuple

import polars as pl

from sojourn.concepts.registry import MEASURED, CodeRule, Concept, base_name
from sojourn.concepts.units.known import Unit, find_unit, units_of

__all__ = ["Problem", "check_dictionary", "check_rules", "fill_conversion", "label_problem"]

_NOT_MEASURED = re.compile(r"\b(alarms?|limit|desat|goal|target|residual|set|setting|threshold)\b", re.IGNORECASE)
"""Words of a label that say: this is what somebody chose, or what came back, and no measurement of the patient."""
_NEAR = 0.6


class Problem(NamedTuple):
    """One thing that is wrong in a table, and what to do."""

    line: int
    """Line of the file, the header being 1; 0 where it is not known."""
    column: str
    """Column that is wrong."""
    message: str
    """What is wrong, and what to do."""


def label_problem(concept: Concept, label: str | None) -> str | None:
    """Say why the words of a source do not fit a concept, or None if they do.

    Parameters
    ----------
    concept : what the code is said to stand for.
    label : the source's own words; None fits every concept.

    Examples
    --------
    >>> from sojourn.concepts.registry import concepts
    >>> label_problem(concepts()["spo2"], "SpO2 Desat Limit")
    "'Desat' says a limit or a setting, and spo2 is measured"
    >>> label_problem(concepts()["spo2"], "O2 saturation pulseoxymetry") is None
    True
    """
    if label is None:
        return None
    for word in _NOT_MEASURED.findall(label) if concept.kind in MEASURED else ():
        if not re.fullmatch(concept.label_has or "", word, re.IGNORECASE):  # as in what is called a residual here
            return f"{word!r} says a limit or a setting, and {concept.name} is measured"
    found = re.search(concept.label_lacks, label, re.IGNORECASE) if concept.label_lacks else None
    if found:
        return f"{found[0]!r} must not stand in the words for {concept.name}"
    if concept.label_has and not re.search(concept.label_has, label, re.IGNORECASE):
        return f"the words for {concept.name} must hold {concept.label_has!r}"
    return None


def fill_conversion(rule: CodeRule, known: Mapping[str, Concept]) -> CodeRule:
    """Take the conversion of a row that names a unit and no scale from the table of units.

    Parameters
    ----------
    rule : one row.
    known : the concepts by name.

    Returns
    -------
    CodeRule
        The row with `scale` and `offset`; the same row where they were given, or the unit is not known.

    Examples
    --------
    >>> row = {"source": "ours", "code": "LAB//CREA", "concept": "creatinine", "unit": "umol/L"}
    >>> round(fill_conversion(CodeRule.model_validate(row), {}).scale, 4)
    0.0113
    """
    unit = None if rule.model_fields_set & {"scale", "offset"} else _unit(rule, known)
    return rule if unit is None else rule.model_copy(update={"scale": unit.scale, "offset": unit.offset})


def check_rules(rules: Iterable[tuple[int, CodeRule]], known: Mapping[str, Concept]) -> list[Problem]:
    """Check rows of a code table against the concepts and against each other.

    Parameters
    ----------
    rules : (line, row) pairs of one table.
    known : the concepts by name.

    Returns
    -------
    list of Problem
        Empty if all is well: every concept is known, no row stands there twice, a concept that is measured has no
        settings, limits or targets, and every label fits.
    """
    seen: dict[tuple[str, str, str], int] = {}
    problems: list[Problem] = []
    for line, rule in rules:
        key = (rule.source, rule.match, rule.code)
        if key in seen:
            message = f"must stand once for each source and match; line {seen[key]} has it too. Remove one of them."
            problems.append(Problem(line, "code", message))
        seen.setdefault(key, line)
        problems += _check_rule(line, rule, known)
    return problems


def check_dictionary(rules: Iterable[tuple[int, CodeRule]], dictionary: pl.DataFrame) -> list[Problem]:
    """Check codes against the dictionary of their source.

    Parameters
    ----------
    rules : (line, row) pairs; the second level of `code` is the id, as in ``LAB//50813//mmol/L``. Patterns are skipped.
    dictionary : `id` and `label`, both strings.

    Returns
    -------
    list of Problem
        Ids that the dictionary lacks, and labels that are not the dictionary's.
    """
    words: dict[str, set[str]] = {}
    for name, label in dictionary.select("id", "label").iter_rows():
        words.setdefault(name, set()).add(label or "")
    problems: list[Problem] = []
    for line, rule in rules:
        levels = rule.code.split("//")
        if rule.match == "regex" or len(levels) < 2:
            continue
        found = words.get(levels[1])
        if found is None:
            problems.append(Problem(line, "code", f"the dictionary has no id {levels[1]!r}. Take it from there."))
        elif rule.label is not None and rule.label not in found:
            said = " or ".join(repr(word) for word in sorted(found))
            problems.append(Problem(line, "label", f"must be the dictionary's {said}; got {rule.label!r}."))
    return problems


def _check_rule(line: int, rule: CodeRule, known: Mapping[str, Concept]) -> Iterator[Problem]:
    """What is wrong with one row."""
    concept = known.get(rule.concept) or known.get(base_name(rule.concept))
    if concept is None:
        near = get_close_matches(rule.concept, list(known), n=1, cutoff=_NEAR)
        hint = f"Did you mean {near[0]!r}?" if near else "`sojourn concepts` lists them; a table can add one."
        yield Problem(line, "concept", f"must be a known concept; got {rule.concept!r}. {hint}")
        return
    if concept.kind in MEASURED and rule.role != "measurement":
        message = f"must be measurement, since {concept.name} is measured; got {rule.role!r}. Give it another concept."
        yield Problem(line, "role", message)
    if rule.concept == concept.name and rule.unit is not None:
        wrong = _conversion_problem(rule, known)
        if wrong:
            yield Problem(line, "unit", wrong)
    wrong = label_problem(concept, rule.label)
    if wrong:
        yield Problem(line, "label", f"does not fit the concept: {wrong}. Correct the concept or the label.")


def _conversion_problem(rule: CodeRule, known: Mapping[str, Concept]) -> str | None:
    """Say why unit and conversion of a row contradict each other; a sign that is turned round does not."""
    unit = _unit(rule, known)
    if unit is not None:
        fits = unit.is_as(abs(rule.scale), rule.offset)
        need = f"scale {unit.scale:.6g}" + (f" and offset {unit.offset:.6g}" if unit.offset else "")
        return None if fits else f"{rule.concept} in {rule.unit} needs {need}; got scale {rule.scale:.6g}."
    if rule.model_fields_set & {"scale", "offset"}:
        return None
    others = ", ".join(other.name for other in units_of(rule.concept)) or known[rule.concept].unit or "no unit"
    return f"must be one of {others}, or have a scale beside it; got {rule.unit!r}. Add scale (and offset)."


def _unit(rule: CodeRule, known: Mapping[str, Concept]) -> Unit | None:
    """The unit of a row: one of its concept's, or the concept's own unit as another concept spells it."""
    found = find_unit(rule.concept, rule.unit)
    concept = known.get(rule.concept)
    if found is not None or concept is None or rule.unit is None:
        return found
    own = Unit(concept.unit or "", 1.0, 0.0)
    if rule.unit in (concept.unit, concept.ucum):
        return own
    alike = (find_unit(other.name, rule.unit) for other in known.values() if other.unit == concept.unit)
    return own if any(unit is not None and unit.is_as(1.0, 0.0) for unit in alike) else None
