"""A hospital's own run: what all share, and the policy part that never left the hospital (FedFactor)."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from sojourn.adaptation.identity import run_identity
from sojourn.adaptation.newrun import is_finished, lineage, unfinished_run, write_run
from sojourn.errors import FederationError
from sojourn.federated.config import FederatedConfig
from sojourn.federated.finish import rounds_of
from sojourn.federated.memory import SiteMemory, SiteState
from sojourn.federated.vocabulary import read_vocabulary
from sojourn.training.run import Run


@dataclass(frozen=True, slots=True)
class OwnReport:
    """A hospital's own run."""

    path: str
    site: str
    round: int
    """Round, from 1, after which the hospital's part stood."""
    num_own: int
    """Weights that are the hospital's own."""


def own_run(run: Path, private: Path, new_run: Path, *, site: str) -> OwnReport:
    """Join a finished run with the part of the network that stayed at a site.

    The run that a training with `personal: true` ends in holds the policy part that everybody started from. This one
    holds the site's own, as it stood beside the run's weights; everything else is that of the run.

    Parameters
    ----------
    run : finished run of a federated training.
    private : folder of what the site keeps to itself, `private` in the folder of its node.
    new_run : folder of the new run. It stays at the site: its weights say how the site measures.
    site : name of the site in the training.

    Raises
    ------
    FederationError
        If nothing stayed at the sites, or `private` holds nothing of this training.
    RunError
        If `new_run` holds something else.
    """
    base = Run(run)
    if not base.settings.get("federated", {}).get("personal"):
        msg = f"run must be of a training with `personal: true`; {run} is not. Use it as it is, or `sojourn adapt` it."
        raise FederationError(msg)
    state = _state_of(base, private, site)
    made_by = lineage(base, {"kind": "own", "run": run_identity(base), "site": site, "round": state.round + 1})
    report = OwnReport(str(new_run), site, state.round + 1, sum(w.size for w in state.personal.values()))
    if not is_finished(new_run, made_by):
        network = base.network()
        own = {name: torch.from_numpy(weight) for name, weight in state.personal.items()}
        network.load_state_dict(network.state_dict() | own)
        with unfinished_run(new_run, made_by) as folder:
            write_run(folder, base, network, made_by=made_by, sites=base.settings["sites"], log=[])
    return report


def _state_of(base: Run, private: Path, site: str) -> SiteState:
    for memory in SiteMemory(private).earlier():
        state = memory.before(rounds_of(base.path))
        if state.personal and _is_of(memory, base, site):
            return state
    msg = (
        f"{private} must hold what {site} kept of the training of {base.path}; it does not. Give the folder `private` "
        "of this site's node."
    )
    raise FederationError(msg)


def _is_of(memory: SiteMemory, base: Run, site: str) -> bool:
    """Whether a training that the site remembers is the run's."""
    job = memory.job()
    if job is None:
        return False
    sites = json.loads(job.texts["sites"])
    config = FederatedConfig.model_validate_json(job.texts["config"]).model_dump(mode="json", exclude={"pretrain"})
    same = sites == base.settings["sites"] and config == base.settings["federated"]
    return site in sites and same and read_vocabulary(job.tensors).table["code"].equals(base.vocabulary.table["code"])
