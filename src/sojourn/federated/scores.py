"""Tuning losses as sites tell them: sums that add up over sites, and which of two weights have the smaller one.

Not every site answers each time, and some hospitals are harder to predict than others: two sets of weights are compared
over the sites that judged both.
"""

from collections.abc import Mapping

import numpy as np

from sojourn.errors import UpdateRefusedError
from sojourn.federated.messages import Message, check

Scores = dict[str, dict[str, float]]
"""By site: ``events``, sums of ``nats_gap``, ``nats_code`` and ``nats_value`` over them, and ``query_nats``, a mean."""
PARTS = ("nats_gap", "nats_code", "nats_value")


def check_scores(message: Message, query_range: tuple[float, float] = (-np.inf, np.inf)) -> None:
    """Refuse the answer of an evaluation that is neither empty, of too few patients, nor sums of losses (`check`).

    Parameters
    ----------
    message : the answer.
    query_range : least and greatest loss per question that a network can have.

    Raises
    ------
    UpdateRefusedError
        Beside those of `check`, with the reason ``wrong_names``, ``negative`` or ``impossible``.
    """
    check(message, "evaluate", {})
    numbers = message.numbers
    if not numbers:
        return
    if numbers.keys() != {"events", *PARTS, "query_nats"}:
        msg = f"scores must be events, {', '.join(PARTS)} and query_nats; they are others."
        raise UpdateRefusedError("wrong_names", msg)
    # Probabilities of what was recorded are at most one, so no sum of their losses is negative.
    if numbers["events"] < 1 or min(numbers[name] for name in PARTS) < 0:
        raise UpdateRefusedError("negative", "sums of losses must not be negative; some are.")
    low, high = query_range
    if not low <= numbers["query_nats"] <= high:
        msg = f"query_nats must lie between {low:.3g} and {high:.3g}, as those of any network do; they do not."
        raise UpdateRefusedError("impossible", msg)


def pooled(told: Scores) -> dict[str, float]:
    """Nats per event of each part and per question, over all events of the sites.

    Examples
    --------
    >>> one = {"events": 1.0, "nats_gap": 2.0, "nats_code": 0.0, "nats_value": 1.0, "query_nats": 3.0}
    >>> found = pooled({"a": one, "b": one | {"events": 3.0, "query_nats": 7.0}})
    >>> found["nats_gap"], found["query_nats"]
    (1.0, 6.0)
    """
    events = [numbers["events"] for numbers in told.values()]
    means = {name: sum(numbers[name] for numbers in told.values()) / sum(events) for name in PARTS}
    queries = float(np.average([numbers["query_nats"] for numbers in told.values()], weights=events))
    return means | {"query_nats": queries}


def improvement(told: Scores, before: Scores, *, outcome_weight: float) -> float | None:
    """By how much the loss is less than before, over the sites that told both; None where none did."""
    if not (both := told.keys() & before.keys()):
        return None
    was, now = (_loss({site: one[site] for site in both}, outcome_weight) for one in (before, told))
    return was - now


def _loss(told: Mapping[str, dict[str, float]], outcome_weight: float) -> float:
    found = pooled(dict(sorted(told.items())))
    return sum(found[name] for name in PARTS) + outcome_weight * found["query_nats"]
