"""How a training's epsilon becomes steps and noise at a site, and the budget that the site's owner has set."""

import math
from pathlib import Path

from sojourn.errors import ConfigError
from sojourn.federated.config import FederatedConfig
from sojourn.federated.privacy.accountant import Spending, noise_for
from sojourn.files import read_json, write_json

_NAME = "privacy-budget.json"


def private_steps(config: FederatedConfig, num_patients: int) -> int:
    """Noisy steps of a site in a round."""
    assert config.privacy is not None, "it is asked for"
    per_epoch = num_patients / config.privacy.patients_per_step
    return max(1, min(config.local_steps, math.ceil(config.max_local_epochs * per_epoch)))


def delta_at(config: FederatedConfig, num_patients: int) -> float:
    """Probability with which epsilon may be exceeded in a training: at most one over the patients of the site.

    Raises
    ------
    ConfigError
        If the training asks for more: with a delta of 0.9, epsilon promises nothing.
    """
    assert config.privacy is not None, "it is asked for"
    most = 1 / num_patients
    delta = most if config.privacy.delta is None else config.privacy.delta
    if delta > most:
        msg = (
            f"privacy.delta must be at most one over the training patients of a site, {most:.1e} here; got {delta:g}. "
            "Leave it out, and each site takes its own."
        )
        raise ConfigError(msg)
    return delta


def planned_spending(config: FederatedConfig, num_patients: int) -> Spending:
    """All steps of the training at a site, with the least noise that keeps them within its epsilon.

    Raises
    ------
    ConfigError
        If a step would draw more patients than the site has, or delta is too large.
    """
    privacy = config.privacy
    assert privacy is not None, "it is asked for"
    if privacy.patients_per_step > num_patients:
        msg = (
            f"patients_per_step must be at most the patients of a site; got {privacy.patients_per_step} of "
            f"{num_patients}. Lower it, or leave the site out."
        )
        raise ConfigError(msg)
    steps = config.rounds * private_steps(config, num_patients)
    sampling = privacy.patients_per_step / num_patients
    delta = delta_at(config, num_patients)
    return Spending(steps, sampling, noise_for(privacy.epsilon, delta, steps=steps, sampling=sampling))


def set_budget(folder: Path, epsilon: float) -> None:
    """Set what all trainings together may cost a patient of this site: the owner's decision, kept beside the ledger.

    Infinity takes the limit away: trainings without noise, which have no epsilon, are allowed by nothing else.

    Raises
    ------
    ConfigError
        If it is negative.
    """
    if not epsilon >= 0:
        msg = f"epsilon must be 0, for no training at all, or more; got {epsilon:g}."
        raise ConfigError(msg)
    if math.isinf(epsilon):
        (folder / _NAME).unlink(missing_ok=True)
    else:
        write_json(folder / _NAME, {"epsilon": epsilon})


def read_budget(folder: Path | None) -> float | None:
    """What `set_budget` wrote; None where the owner has set nothing, and a training's own epsilon is the limit."""
    if folder is None or not (folder / _NAME).exists():
        return None
    return float(read_json(folder / _NAME)["epsilon"])
