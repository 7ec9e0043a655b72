"""The ledger survives restarts and refuses to be overdrawn."""

from pathlib import Path

import pytest

from sojourn.errors import BudgetError, DataError
from sojourn.federated.privacy.accountant import Spending, epsilon_of
from sojourn.federated.privacy.ledger import Ledger

STEP = Spending(20, 0.1, 1.0)


def test_spendings_add_up_over_restarts(tmp_path: Path) -> None:
    for number in range(3):
        balance = Ledger(tmp_path, budget=50.0, delta=1e-4).spend(STEP, purpose=f"round {number}")
    assert balance.epsilon == pytest.approx(epsilon_of([STEP] * 3, 1e-4))
    assert Ledger(tmp_path, budget=50.0, delta=1e-4).balance == balance


def test_a_spending_that_overdraws_is_refused_and_not_written(tmp_path: Path) -> None:
    once = epsilon_of([STEP], 1e-4)
    ledger = Ledger(tmp_path, budget=1.2 * once, delta=1e-4)
    ledger.spend(STEP, purpose="one")
    with pytest.raises(BudgetError, match="owner raises the budget"):
        ledger.spend(STEP, purpose="two")
    assert Ledger(tmp_path, budget=1.2 * once, delta=1e-4).balance.epsilon == pytest.approx(once)


def test_a_damaged_ledger_stops_the_site(tmp_path: Path) -> None:
    Ledger(tmp_path, budget=9.0, delta=1e-4).spend(STEP, purpose="one")
    (path,) = tmp_path.glob("*.jsonl")
    path.write_text(path.read_text()[:-20])
    with pytest.raises(DataError, match="damaged"):
        Ledger(tmp_path, budget=9.0, delta=1e-4)
