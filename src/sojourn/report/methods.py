"""The methods that a report compares: what they are called in words, how they are drawn, in what order they stand."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from sojourn.report.artifacts import Entry

OVERALL = "overall"
LEVELS = ("looking", "levels")
"""In the names of methods of ours whose level was set by a hospital's habits (`adapt --what looking`, `levels`)."""


class Look(NamedTuple):
    """How a method is named and drawn."""

    kind: str
    """`ours`, `baseline`, `ceiling`, `control` or `other`."""
    label: str
    role: str
    """Colour role, one of `sojourn.report.svg.SERIES`."""
    shape: str


# The first pattern that a method's name holds decides; controls come first, as they may be named after what they test.
_LOOKS = (
    ("random-weights", Look("control", "Random weights", "muted", "ring")),
    ("shuffl", Look("control", "Shuffled values", "muted", "ring")),
    ("truth", Look("ceiling", "True risk (ceiling)", "fourth", "diamond")),
    ("ceiling", Look("ceiling", "True risk (ceiling)", "fourth", "diamond")),
    ("oracle", Look("ceiling", "True risk (ceiling)", "fourth", "diamond")),
    *((name, Look("ours", "Sojourn, level of the site", "ours", "ring")) for name in LEVELS),
    ("simulat", Look("ours", "Sojourn, simulated", "ours", "ring")),
    ("query", Look("ours", "Sojourn, zero-shot", "ours", "circle")),
    ("sojourn", Look("ours", "Sojourn", "ours", "circle")),
    ("lightgbm", Look("baseline", "LightGBM", "rival", "square")),
    ("logistic", Look("baseline", "Logistic regression", "third", "triangle")),
    ("prevalence", Look("baseline", "Prevalence", "muted", "square")),
)
_KINDS = ("ours", "baseline", "other", "ceiling", "control")
_RANKS = ("query", "sojourn", "simulat", "lightgbm", "logistic", "prevalence")


def look(method: str) -> Look:
    """Return how a method is named and drawn; a suffix such as `lightgbm_local_500` is kept in its label.

    Examples
    --------
    >>> look("lightgbm_local_500").label
    'LightGBM (local 500)'
    >>> look("query").kind, look("something").kind, look("random_weights").kind, look("random-forest").kind
    ('ours', 'other', 'control', 'other')
    >>> look("sojourn-levels (query)").label
    'Sojourn, level of the site'
    """
    name = method.lower().replace("_", "-")
    for pattern, found in _LOOKS:
        if pattern in name:
            rest = _rest(name, pattern, found)
            return found._replace(label=f"{found.label} ({rest})") if rest else found
    return Look("other", method.replace("_", " "), "fifth", "diamond")


def _rest(name: str, pattern: str, found: Look) -> str:
    """What a method's name says beyond its pattern and the words of its label."""
    known = {
        *found.label.lower().replace(",", "").replace("-", " ").split(),
        "weight",
        "weights",
        "values",
        "regression",
        "risk",
        "query",
    }
    words = [w for w in re.split(r"[-_/\s()]+", name) if w and pattern not in w and w not in known]
    return " ".join(words)


def method_order(method: str) -> tuple[int, int, str]:
    """Sort key: ours (queries first), then baselines, others, the ceiling and the controls."""
    name = method.lower().replace("_", "-")
    rank = next((i for i, pattern in enumerate(_RANKS) if pattern in name), len(_RANKS))
    return _KINDS.index(look(method).kind), rank, name


def in_order(values: Iterable[str]) -> list[str]:
    """Distinct values in the order of their first appearance."""
    return list(dict.fromkeys(values))


def tasks_of(entries: Iterable[Entry]) -> list[str]:
    """Tasks in the order in which the evaluations name them."""
    return in_order(entry.task for entry in entries)


def select(
    entries: Iterable[Entry], *, task: str | None = None, group: str | None = None, kinds: tuple[str, ...] | None = None
) -> list[Entry]:
    """Entries of a task, group and kinds of method, in the order of their methods."""
    found = [
        entry
        for entry in entries
        if task in (None, entry.task)
        and group in (None, entry.group)
        and (kinds is None or look(entry.method).kind in kinds)
    ]
    return sorted(found, key=lambda entry: method_order(entry.method))


def sites_of(entries: Iterable[Entry]) -> list[str]:
    """Groups other than the whole, numbers in numerical order."""
    sites = {entry.group for entry in entries} - {OVERALL}
    return sorted(sites, key=lambda site: (not site.isdigit(), int(site) if site.isdigit() else 0, site))


def headline_group(entries: Iterable[Entry], unseen: list[str]) -> str:
    """The group that the headline is about: the one unseen site where it was evaluated by itself, else the whole."""
    groups = {entry.group for entry in entries}
    return unseen[0] if len(unseen) == 1 and unseen[0] in groups else OVERALL


def main_entry(entries: Iterable[Entry], task: str, group: str, kind: str, prefix: str = "") -> Entry | None:
    """The first entry of a kind of method (and, with `prefix`, of that method), or None."""
    found = [e for e in select(entries, task=task, group=group, kinds=(kind,)) if e.method.lower().startswith(prefix)]
    return found[0] if found else None
