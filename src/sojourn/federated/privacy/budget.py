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


def planned_spending(config: FederatedConfig, num_patients: int) -> Spending:
    """All steps of the training at a site, with the least noise that keeps them within its epsilon.

    Raises
    ------
    ConfigError
        If a step would draw more patients than the site has.
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
    delta = privacy.delta or 1 / num_patients
    return Spending(steps, sampling, noise_for(privacy.epsilon, delta, steps=steps, sampling=sampling))


def set_budget(folder: Path, epsilon: float) -> None:
    """Set what all trainings together may cost a patient of this site: the owner's decision, kept beside the ledger."""
    write_json(folder / _NAME, {"epsilon": epsilon})


def read_budget(folder: Path | None) -> float | None:
    """What `set_budget` wrote; None where the owner has set nothing, and a training's own epsilon is the limit."""
    if folder is None or not (folder / _NAME).exists():
        return None
    return float(read_json(folder / _NAME)["epsilon"])
