"""A site's privacy ledger: what was spent, in a file that only grows, and a budget that is never overdrawn."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sojourn.errors import BudgetError, DataError
from sojourn.federated.privacy.accountant import Spending, epsilon_of
from sojourn.federated.privacy.budget import read_budget
from sojourn.files import cut_torn, locked

_NAME = "privacy-ledger.jsonl"


class Balance(NamedTuple):
    """What a site has spent on its patients, over all trainings."""

    epsilon: float
    delta: float
    budget: float
    """Epsilon at which the site stops."""


class Ledger:
    """Spendings of one site, written before anything is released.

    Parameters
    ----------
    folder : the site's private folder; None keeps the ledger in memory, for research.
    budget : epsilon that all trainings together may cost a patient.
    delta : probability with which it may be exceeded: the site's own, whatever a training asks for.

    Raises
    ------
    DataError
        If the file is damaged: a site that cannot tell what it spent must not go on.
    """

    def __init__(self, folder: Path | None, *, budget: float, delta: float) -> None:
        self.path = None if folder is None else folder / _NAME
        self.budget, self.delta = budget, delta
        self._spent: list[Spending] = [] if self.path is None else _read(self.path)

    @property
    def balance(self) -> Balance:
        """Epsilon of everything so far."""
        return Balance(epsilon_of(self._spent, self.delta), self.delta, self.budget)

    def spend(self, spending: Spending, *, purpose: str) -> Balance:
        """Write down a release before it is made.

        Raises
        ------
        BudgetError
            If it would overdraw the budget; nothing is written and nothing may be released.
        """
        if self.path is None:
            return self._written(spending, purpose, None)
        with locked(self.path) as file:  # from reading to writing: two at once would each find room for both
            cut_torn(self.path)  # what was not written whole was not released either
            self._spent = _read(self.path)
            return self._written(spending, purpose, file)

    def _written(self, spending: Spending, purpose: str, file: BinaryIO | None) -> Balance:
        """Add a spending, for which nobody else finds room meanwhile."""
        epsilon = epsilon_of([*self._spent, spending], self.delta)
        if epsilon > self.budget:
            msg = (
                f"the privacy budget must last; {spending.steps} further steps would bring epsilon to {epsilon:.2f} of "
                f"{self.budget:g}. The site takes no further part until its owner raises the budget."
            )
            raise BudgetError(msg)
        if file is not None:
            told = {"purpose": purpose, "delta": self.delta, "budget": self.budget}
            line = spending._asdict() | told | {"time": datetime.now(UTC).isoformat(timespec="seconds")}
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())  # a crash after the release must not forget it
        self._spent.append(spending)
        return Balance(epsilon, self.delta, self.budget)


def balance_of(folder: Path) -> Balance | None:
    """What a site has spent at the delta of its last spending, of the owner's budget now (or, where the owner has set
    none, of that of the last training); None before the first."""
    path = folder / _NAME
    if not path.exists() or not _read(path):
        return None
    last = json.loads(_whole_lines(path)[-1])
    if not {"budget", "delta"} <= last.keys():
        return None
    now = read_budget(folder)
    budget = float(last["budget"]) if now is None else now
    return Ledger(folder, budget=budget, delta=float(last["delta"])).balance


def _whole_lines(path: Path) -> list[str]:
    """All lines but a last one that a crash cut short: nothing was released before its line was on disk."""
    return path.read_text().rpartition("\n")[0].splitlines()


def _read(path: Path) -> list[Spending]:
    if not path.exists():
        return []
    try:
        lines = [json.loads(line) for line in _whole_lines(path)]
        return [Spending(int(x["steps"]), float(x["sampling"]), float(x["noise"])) for x in lines]
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path} must hold the site's spendings, one per line; it is damaged. Restore it from a backup."
        raise DataError(msg) from error
