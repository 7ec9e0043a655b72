"""A federated run as it may be handed on: attacked at every site first, and without what tells the hospitals apart."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from sojourn.adaptation.identity import run_identity
from sojourn.adaptation.newrun import is_finished, lineage, unfinished_run, write_run
from sojourn.errors import FederationError
from sojourn.federated.exposure import SiteExposure
from sojourn.files import write_json
from sojourn.training.run import Run

RELEASE = "release.json"
LIMIT = 0.6
"""A site whose patients are surely found more often than this keeps the model back."""


@dataclass(frozen=True, slots=True)
class ReleaseReport:
    """A run that was handed on, and what was found out before."""

    path: str
    limit: float
    epsilon: float | None
    """Privacy of each patient that the training had; None: no noise."""
    sites_removed: int
    """Names and vectors of hospitals that are not in it."""
    sites: tuple[SiteExposure, ...]


def release(
    run: Path, out: Path, found: Sequence[SiteExposure], *, limit: float = LIMIT, allow_unchecked: bool = False
) -> ReleaseReport:
    """Copy a run without its log, its checkpoints, and the names and vectors of its sites.

    What is left knows hospitals as unknown ones only; `sojourn adapt` makes it a hospital's own.

    Parameters
    ----------
    run : finished run of a federated training.
    out : folder of the new run, with `release.json`.
    found : what the attack on the weights found at each site.
    limit : largest lower limit of an AUROC that lets the run go.
    allow_unchecked : let it go though some sites did not answer.

    Raises
    ------
    FederationError
        If a site's patients are found more surely than `limit`, a site did not answer, or none told anything.
    RunError
        If `out` holds something else.
    """
    _check(found, limit, allow_unchecked=allow_unchecked)
    base = Run(run)
    privacy = base.settings.get("federated", {}).get("privacy")
    without_names = [asdict(one) | {"site": number} for number, one in enumerate(found, 1)]
    step = {"kind": "release", "run": run_identity(base), "limit": limit, "found": without_names}
    made_by = lineage(base, step)
    report = ReleaseReport(str(out), limit, privacy and privacy["epsilon"], len(base.sites), tuple(found))
    if not is_finished(out, made_by):
        network = base.network()
        unknown = nn.Embedding(1, network.site.embedding_dim)
        with torch.no_grad():
            unknown.weight.copy_(network.site.weight[:1])
        network.site = unknown
        with unfinished_run(out, made_by) as folder:
            write_json(folder / RELEASE, asdict(report) | {"path": out.name, "sites": without_names})
            write_run(folder, base, network, made_by=made_by, sites=[], log=[])
    return report


def _check(found: Sequence[SiteExposure], limit: float, *, allow_unchecked: bool) -> None:
    if too_much := [one for one in found if one.lower is not None and one.lower > limit]:
        shown = ", ".join(f"{one.site} ({one.auroc:.2f}, at least {one.lower:.2f})" for one in too_much[:5])
        msg = (
            f"training patients must not be told from others with an AUROC above {limit:g} for sure; they are at "
            f"{shown}. Train with `privacy`, with fewer rounds, or raise --limit if those sites agree."
        )
        raise FederationError(msg)
    unchecked = [one for one in found if one.told not in ("ok", "too_few")]
    if unchecked and not allow_unchecked:
        shown = ", ".join(f"{one.site} ({one.told})" for one in unchecked[:5])
        msg = (
            f"every site must check what the weights betray of its patients; {len(unchecked)} of {len(found)} did not: "
            f"{shown}. Ask again when their nodes run, or give --allow-unchecked if those sites agree."
        )
        raise FederationError(msg)
    if not any(one.told == "ok" for one in found):
        reasons = ", ".join(f"{one.site}: {one.told}" for one in found[:5])
        msg = f"at least one site must say what the weights betray; none of {len(found)} did ({reasons})."
        raise FederationError(msg)
