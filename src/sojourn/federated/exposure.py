"""What finished weights betray of whom they were learnt from, as each site finds on its own patients.

The attack needs the weights alone: a patient who was learnt from has a smaller loss than one who was not, and the
more so beside the weights that the training began with, which tell how hard a record is by itself (Yeom et al. 2018,
arXiv 1709.01604; Carlini et al. 2022, arXiv 2112.03570). What it finds is a lower bound: an attacker who can train a
model of other patients of the same hospital finds more (`sojourn federate attack`).
"""

from dataclasses import dataclass

import numpy as np

from sojourn.errors import UpdateRefusedError
from sojourn.federated.attacks.membership import membership_auroc, patient_losses
from sojourn.federated.local import LocalTrainer
from sojourn.federated.messages import Message, Refusal, check_auroc, check_figures
from sojourn.training.records import Ints
from sojourn.training.selection import evenly
from sojourn.trust.bootstrap import Interval

MOST = 300
"""Patients of each kind that are asked, at most."""
LEAST = 10
"""Patients of each kind without whom an interval says nothing."""
_TOLD = ("members", "others", "auroc", "lower", "upper")


@dataclass(frozen=True, slots=True)
class SiteExposure:
    """How well the weights tell a site's training patients from its other ones, as the site told."""

    site: str
    members: int
    others: int
    auroc: float | None
    """Of the better one of the two attacks; 0.5 is chance, None: it told nothing."""
    lower: float | None
    upper: float | None
    told: str
    """ok, or why there is nothing: too_few, or the reason of a refusal."""


def exposure(trainer: LocalTrainer, others: Ints, *, least: int = LEAST) -> dict[str, float]:
    """Attack the weights that a trainer holds with the records of its site.

    Parameters
    ----------
    trainer : its network has the weights; its training rows were learnt from.
    others : (N,) rows of patients of the site who were not.
    least : patients of each kind below which nothing is told.

    Returns
    -------
    dict
        ``members``, ``others``, ``auroc``, ``lower`` and ``upper`` (95 %, over patients). Empty for too few patients.
    """
    members, others = (evenly(np.sort(rows), MOST) for rows in (trainer.rows.train, others))
    if min(len(members), len(others)) < max(least, LEAST):
        return {}
    rows, is_member = np.concatenate([members, others]), np.repeat([True, False], [len(members), len(others)])
    reader, config = trainer.reader, trainer.config
    loss, first = (patient_losses(net, reader, rows, config) for net in (trainer.network, trainer.job.network()))
    found: list[Interval] = [membership_auroc(loss, expected, is_member) for expected in (0 * loss, first)]
    worst = max(found, key=lambda one: one.value)
    counts = {"members": float(len(members)), "others": float(len(others))}
    return counts | {"auroc": worst.value, "lower": worst.lower, "upper": worst.upper}


def exposure_of(site: str, answer: Message | Refusal) -> SiteExposure:
    """What a site's answer says; one that no site of ours gives says no more than a refusal."""
    if isinstance(answer, Refusal):
        return SiteExposure(site, 0, 0, None, None, None, answer.reason)
    try:
        check_exposure(answer)
    except UpdateRefusedError as error:
        return SiteExposure(site, 0, 0, None, None, None, error.reason)
    if not answer.numbers:
        return SiteExposure(site, 0, 0, None, None, None, "too_few")
    members, others, auroc, lower, upper = (answer.numbers[name] for name in _TOLD)
    return SiteExposure(site, int(members), int(others), auroc, lower, upper, "ok")


def check_exposure(message: Message) -> None:
    """Refuse what is neither empty, of too few patients, nor what `exposure` tells.

    Raises
    ------
    UpdateRefusedError
        With the reasons of `messages.check_figures` and `check_auroc`.
    """
    check_figures(message, "exposure", _TOLD)
    if not message.numbers:
        return
    members, others, auroc, lower, upper = (message.numbers[name] for name in _TOLD)
    if not LEAST <= min(members, others) <= max(members, others) <= MOST:
        msg = f"patients of each kind must be from {LEAST} to {MOST}; they are not."
        raise UpdateRefusedError("malformed", msg)
    check_auroc(lower, auroc, upper)
