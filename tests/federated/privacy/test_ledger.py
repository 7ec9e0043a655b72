"""The ledger survives restarts and refuses to be overdrawn."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sojourn.errors import BudgetError, ConfigError, DataError
from sojourn.federated.config import FederatedConfig
from sojourn.federated.privacy.accountant import Spending, _epsilon, epsilon_of
from sojourn.federated.privacy.budget import planned_spending, read_budget, set_budget
from sojourn.federated.privacy.ledger import Ledger, balance_of

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
    path.write_text(path.read_text()[20:])
    with pytest.raises(DataError, match="damaged"):
        Ledger(tmp_path, budget=9.0, delta=1e-4)


def test_a_line_that_a_crash_cut_short_was_no_spending(tmp_path: Path) -> None:
    """It is on disk before anything is released, so nothing was."""
    one = Ledger(tmp_path, budget=50.0, delta=1e-4).spend(STEP, purpose="one")
    path = tmp_path / "privacy-ledger.jsonl"
    with path.open("a") as file:
        file.write(path.read_text()[:30])
    ledger = Ledger(tmp_path, budget=50.0, delta=1e-4)
    assert ledger.balance == one
    two = ledger.spend(STEP, purpose="two")
    assert Ledger(tmp_path, budget=50.0, delta=1e-4).balance == two == balance_of(tmp_path)
    assert len(path.read_text().splitlines()) == 2


def test_a_training_cannot_buy_its_way_with_a_large_delta() -> None:
    """With delta 0.9 epsilon 8 needs hardly any noise, and would be 62 at one over the patients."""
    large = FederatedConfig(privacy={"epsilon": 8.0, "delta": 0.9})
    with pytest.raises(ConfigError, match="at most one over"):
        planned_spending(large, 1000)
    small = FederatedConfig(privacy={"epsilon": 8.0, "delta": 1e-6})
    assert planned_spending(small, 1000).noise > planned_spending(FederatedConfig(privacy={}), 1000).noise


def test_the_owners_budget_may_be_nothing(tmp_path: Path) -> None:
    set_budget(tmp_path, 0.0)
    assert read_budget(tmp_path) == 0.0
    with pytest.raises(ConfigError, match="0, for no training"):
        set_budget(tmp_path, -1.0)


def test_the_owners_budget_is_what_the_balance_is_of(tmp_path: Path) -> None:
    Ledger(tmp_path, budget=8.0, delta=1e-4).spend(STEP, purpose="one")
    assert (found := balance_of(tmp_path)) is not None
    assert found.budget == 8.0
    set_budget(tmp_path, 0.5)
    assert (found := balance_of(tmp_path)) is not None
    assert found.budget == 0.5
    set_budget(tmp_path, float("inf"))
    assert read_budget(tmp_path) is None


def test_many_rounds_cost_no_more_time_than_one(tmp_path: Path) -> None:
    """Equal steps are composed at once, and come to the same epsilon."""
    _epsilon.cache_clear()
    ledger = Ledger(tmp_path, budget=99.0, delta=1e-4)
    for number in range(30):
        balance = ledger.spend(STEP, purpose=f"round {number}")
    assert balance.epsilon == epsilon_of([STEP._replace(steps=30 * STEP.steps)], 1e-4)


def test_two_at_once_spend_one_budget(tmp_path: Path) -> None:
    """As two nodes of one folder would: each had room for what the other spent."""
    ledgers = [Ledger(tmp_path, budget=1.2 * epsilon_of([STEP], 1e-4), delta=1e-4) for _ in range(2)]
    ledgers[0].spend(STEP, purpose="one")
    with pytest.raises(BudgetError):
        ledgers[1].spend(STEP, purpose="two")
    assert len((tmp_path / "privacy-ledger.jsonl").read_text().splitlines()) == 1


def test_spendings_of_many_threads_are_all_written(tmp_path: Path) -> None:
    once = epsilon_of([STEP], 1e-4)

    def spend(_: int) -> bool:
        try:
            Ledger(tmp_path, budget=1.2 * once, delta=1e-4).spend(STEP, purpose="one")
        except BudgetError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(spend, range(16))) == 1
    assert Ledger(tmp_path, budget=9.0, delta=1e-4).balance.epsilon == pytest.approx(once)
