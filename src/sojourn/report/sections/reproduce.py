"""How to make the same result again, and what it does not say."""

import shlex
from collections.abc import Mapping
from typing import Any

from sojourn.report.artifacts import RunFolder, as_list, as_mapping, find
from sojourn.report.blocks import Block, Commands, Section, Table, paragraph
from sojourn.report.sections.model import flatten

_STEPS = (
    "sojourn ingest SOURCE RAW DATASET",
    "sojourn build STORE DATASET",
    "sojourn pretrain STORE NEW_RUN --config {run}/run.yaml",
    "sojourn label TASK STORE LABELS {unseen}",
    "sojourn predict {run} STORE LABELS PREDICTIONS",
    "sojourn evaluate PREDICTIONS {run}/artifacts/evaluation --by site",
    "sojourn report {run} report.html",
)
_IDENTITY = ("seed", "fingerprint", "precision")


def reproduce_section(run: RunFolder) -> Section:
    """Build commands, versions, seeds, fingerprints and limitations."""
    blocks: list[Block] = [
        paragraph(
            "The steps, with names to fill in. <code>run.yaml</code> holds every setting; the same store, settings "
            "and versions give the same losses."
        ),
        Commands(tuple(step.format(run=run.name, unseen=_unseen(run)) for step in _STEPS)),
    ]
    identity = _identity(run)
    if identity:
        blocks.append(Table("Seeds, fingerprints and versions.", ("What", "Value"), tuple(identity), numeric_from=2))
    blocks += [
        paragraph("<strong>What this report does not say.</strong>"),
        paragraph(
            "Risks and simulated futures are conditional predictions: what usually follows such a history under the "
            "care that such patients were given. They are not causal effects, and do not say what would happen if "
            "care were changed."
        ),
        paragraph(
            "Intervals are for the subjects that were resampled; they do not cover other hospitals, other years or "
            "other ways of recording. Labels are what the records hold, with their gaps. Nothing here is cleared "
            "for use in care."
        ),
    ]
    return Section("reproduce", "Reproduce, and limits", blocks)


def _unseen(run: RunFolder) -> str:
    """Options that leave out whom the run has learnt from: its held-out sites, or else the held-out subjects."""
    sites = as_list(find(run.settings, "held_out_sites"))
    return " ".join(f"--site {shlex.quote(str(site))}" for site in sites) or "--split held_out"


def _identity(run: RunFolder) -> list[tuple[str, str]]:
    """Seeds, fingerprints and versions from the run and its evaluations."""
    rows = [
        (key.replace("_", " "), _text(value)) for key in _IDENTITY if (value := find(run.settings, key)) is not None
    ]
    rows += [(f"version of {name}", text) for name, text in flatten(as_mapping(find(run.settings, "versions")))]
    for head in run.evaluations:
        facts = [
            ("seed", head.get("seed")),
            ("bootstrap resamples", head.get("num_bootstrap")),
            ("made", head.get("created")),
        ]
        said = ", ".join(f"{name} {value}" for name, value in facts if value is not None)
        versions = ", ".join(f"{name} {text}" for name, text in flatten(as_mapping(head.get("versions"))))
        rows.append(
            (f"evaluation “{head['name']}”", "; ".join(part for part in (said, versions) if part) or "no details")
        )
    return rows


def _text(value: Any) -> str:
    """A value as one line."""
    return ", ".join(f"{k} {v}" for k, v in flatten(value)) if isinstance(value, Mapping) else str(value)
