"""Outcomes that show in one decision at a time, and what a decision's chance of making them happen is.

A future is a series of decisions: which code comes next in an instant (or END), and what its value is. Many outcomes
happen by one such decision alone: any event of some codes, or a value of some codes inside limits. For them the network
knows p_k, the chance that decision k makes the outcome happen, whatever is then drawn.

Let Q be the law of futures in which no decision makes it happen: each decision is drawn from what is left, divided by
1 - p_k. A future without the outcome has the probability P(path) = Q(path) * prod_k (1 - p_k) under the network, so

    P(outcome within the horizon) = 1 - sum of P(path) over paths without it = E_Q[ 1 - prod_k (1 - p_k) ]

without bias. The bracket lies in [0, 1], so its variance is at most m (1 - m) with m its mean: never more than that of
counting, and far less where the chances hardly differ between futures. (It is importance sampling from Q; in the rare-
event literature, forced or conditional Monte Carlo.)

Shape letters: M decisions, V codes, C codes whose values count, E codes that count by themselves.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from sojourn.errors import TaskError
from sojourn.model import Network
from sojourn.model.embedding import EventEmbedding, on_grid
from sojourn.tasks.outcomes import OUTCOME_PREFIX, EventOutcome, Outcome, ValueOutcome, matching_codes, outcomes
from sojourn.training.records import Floats, Ints

# Recorded values nearest to a limit that are tried against the outcome's definition.
_TRIED = np.arange(-3, 4)


class Rule(NamedTuple):
    """An outcome that one decision makes happen."""

    event: Tensor
    """(E,) int64, codes that make it happen whatever their value."""
    code: Tensor
    """(C,) int64, codes that make it happen by a value."""
    smallest: Tensor
    """(C,) float32, the smallest value that does, on the code's recorded grid."""
    largest: Tensor
    """(C,) float32."""
    lower: Tensor
    """(C,) float32, end of those values' cells on the normalised scale."""
    upper: Tensor
    """(C,) float32."""

    def to(self, device: torch.device) -> "Rule":
        """Copy to `device`."""
        return Rule(*(field.to(device) for field in self))

    def happened(self, code: Ints, value: Floats) -> npt.NDArray[np.bool_]:
        """Whether each of some events makes the outcome happen, shape of `code`."""
        hit: npt.NDArray[np.bool_] = np.isin(code, self.event.numpy())
        for c, smallest, largest in zip(self.code.tolist(), self.smallest.numpy(), self.largest.numpy(), strict=True):
            hit |= (code == c) & (value >= smallest) & (value <= largest)
        return hit


class Block(NamedTuple):
    """What values must not be, for M events."""

    lower: Tensor
    """(M,) the value must not lie in (lower, upper] on the normalised scale; infinite where anything may come."""
    upper: Tensor
    mass: Tensor
    """(M,) chance of lying there."""


def rule_of(
    asked: Sequence[str], names: Sequence[str], events: EventEmbedding, known: Mapping[str, Outcome] | None = None
) -> Rule | None:
    """The rule of the first of some codes, or None where no single decision makes it happen.

    Parameters
    ----------
    asked : codes; `OUTCOME//...` stands for its definition, any other for itself.
    names : codes of the model's vocabulary.
    events : holds the grids and scales of the codes.
    known : outcome definitions by name; None: the built-in ones.

    Raises
    ------
    TaskError
        If an outcome is one that only a source can bring.
    """
    index = {name: i for i, name in enumerate(names)}
    by_event: set[int] = set()
    by_value: dict[int, tuple[float, float]] = {}
    for wanted in asked:
        outcome = shown_outcome(wanted, known)
        used = matching_codes(names, outcome.roots()) if outcome is not None else [wanted]
        codes = [index[name] for name in used if name in index]
        if outcome is None or isinstance(outcome, EventOutcome):
            by_event.update(codes)
        elif isinstance(outcome, ValueOutcome):
            for code in codes:
                limits = _limits(outcome, float(events.tick[code]))
                if limits is not None and by_value.setdefault(code, limits) != limits:
                    return None  # two outcomes set different limits to one code
        else:
            return None
    return _rule(by_event, {c: limits for c, limits in by_value.items() if c not in by_event}, events)


def shown_outcome(code: str, known: Mapping[str, Outcome] | None = None) -> Outcome | None:
    """The definition behind an `OUTCOME//...` code; None for any other code, which stands for itself.

    `known` are the definitions by name, None for the built-in ones.

    Raises
    ------
    TaskError
        If the outcome is one that only a source can bring.
    """
    if not code.startswith(OUTCOME_PREFIX):
        return None
    outcome = (outcomes() if known is None else known).get(code.removeprefix(OUTCOME_PREFIX))
    if outcome is None or not outcome.roots():
        msg = f"task must ask for outcomes that events show; {code} is brought by its source. Use method query."
        raise TaskError(msg)
    return outcome


def _rule(by_event: set[int], by_value: dict[int, tuple[float, float]], events: EventEmbedding) -> Rule:
    code = torch.tensor(sorted(by_value), dtype=torch.int64)
    limits = torch.tensor([by_value[c] for c in sorted(by_value)], dtype=torch.float32).view(-1, 2)
    smallest, largest = limits.unbind(1)
    return Rule(
        event=torch.tensor(sorted(by_event), dtype=torch.int64),
        code=code,
        smallest=smallest,
        largest=largest,
        lower=events.cell(code, smallest)[0],
        upper=events.cell(code, largest)[1],
    )


def _limits(outcome: ValueOutcome, tick: float) -> tuple[float, float] | None:
    """The smallest and the largest recorded value that the outcome counts; None where no value does."""
    ends = [x for x in (*outcome.plausible, *outcome.limits()) if x is not None]
    numbers = np.unique(np.concatenate([np.round(end / tick) + _TRIED for end in ends]))
    # On the grid that the network's values are on, and judged by the definition itself.
    grid = on_grid(torch.from_numpy(numbers), torch.tensor(tick)).numpy()
    table = pl.DataFrame({"subject_id": np.arange(len(grid)), "time": None, "numeric_value": grid})
    counted = grid[outcome.times(table)["subject_id"].to_numpy()]
    return (float(counted.min()), float(counted.max())) if len(counted) else None


def forbid(
    network: Network, rule: Rule, u_MD: Tensor, chance_MV: Tensor, last: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Take the outcome's chance out of decisions.

    Parameters
    ----------
    u_MD : states of the decisions.
    chance_MV : chances of all codes and END, (M, V + 1); changed in place.
    last : last values (M, C) of the rule's codes, and seconds since then.

    Returns
    -------
    hit : (M,) float64, the chance that was taken out.
    mass : (M, C), chance that a value of each of the rule's codes would make the outcome happen.
    """
    hit = chance_MV[:, rule.event].double().sum(-1)
    chance_MV[:, rule.event] = 0.0
    mass = u_MD.new_zeros(len(u_MD), len(rule.code))
    for j, code in enumerate(rule.code.tolist()):
        asked = (chance_MV[:, code] > 0).nonzero()[:, 0]
        if not len(asked):
            continue
        of_code = torch.full_like(asked, code)
        density = network.value_density(u_MD[asked], of_code, last[0][asked, j], last[1][asked, j])
        ends = (rule.lower[j].expand(len(asked)), rule.upper[j].expand(len(asked)))
        mass[asked, j] = density.log_mass(*ends).exp().clamp_max(1.0)
        share = network.events.value_share[code] * mass[:, j]
        hit += (chance_MV[:, code] * share).double()
        chance_MV[:, code] *= 1 - share
    return hit.clamp(0.0, 1.0), mass


def block_of(rule: Rule, code_M: Tensor, mass_MC: Tensor) -> Block:
    """What the values of drawn events must not be."""
    count = len(code_M)
    nothing, none = mass_MC.new_full((count, 1), torch.inf), mass_MC.new_zeros(count, 1)
    # The last column stands for codes that the rule leaves alone.
    asked = torch.cat([code_M[:, None] == rule.code, torch.ones_like(code_M[:, None], dtype=torch.bool)], 1)
    column = asked.long().argmax(1, keepdim=True)
    lower, upper, mass = (
        torch.cat([of_rule.expand(count, -1), of_others], 1).gather(1, column)[:, 0]
        for of_rule, of_others in ((rule.lower, nothing), (rule.upper, nothing), (mass_MC, none))
    )
    return Block(lower, upper, mass)
