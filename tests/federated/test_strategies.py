"""Strategies by hand: one weight, two sites."""

import numpy as np
import pytest
import torch

from sojourn.federated import config
from sojourn.federated.messages import SQUARES, Tensors
from sojourn.federated.personal import own_rows_only
from sojourn.federated.strategies import make_strategy
from sojourn.federated.strategies.averaging import Averaging, Combining, mean_by_row, mean_of

SITES = ("a", "b")
SHARES = {"a": 0.75, "b": 0.25}
DELTAS = {"a": {"w": np.array([1.0], np.float32)}, "b": {"w": np.array([5.0], np.float32)}}


def started(settings: config.Strategy, *, share_moments: bool = False, weights: Tensors | None = None) -> Combining:
    whole = config.FederatedConfig(strategy=settings, share_moments=share_moments)
    return make_strategy(whole, weights or {"w": np.array([10.0], np.float32)}, SITES)


def moved(settings: config.Strategy, rounds: int = 1) -> float:
    strategy = started(settings)
    for round_ in range(rounds):
        strategy.update(round_, DELTAS, SHARES)
    return float(strategy.weights["w"][0])


def test_fedavg_moves_by_the_weighted_mean() -> None:
    assert moved(config.FedAvg()) == 12.0  # 10 + 0.75 * 1 + 0.25 * 5
    assert moved(config.FedAvg(rate=0.5)) == 11.0


def test_diloco_is_nesterov() -> None:
    # b = 2, step 0.7 (2 + 0.9 * 2) = 2.66; then b = 0.9 * 2 + 2 = 3.8, step 0.7 (2 + 3.42) = 3.794
    assert moved(config.DiLoCo()) == pytest.approx(12.66)
    assert moved(config.DiLoCo(), rounds=2) == pytest.approx(16.454)


def test_fedadam_and_fedyogi_by_hand() -> None:
    settings = {"rate": 0.1, "beta_1": 0.5, "beta_2": 0.5, "tau": 1.0}
    # m = 0.5 * 2 = 1, v = 0.5 * 1 + 0.5 * 4 = 2.5
    assert moved(config.FedAdam(**settings)) == pytest.approx(10 + 0.1 / (2.5**0.5 + 1))
    # v = 1 - 0.5 * 4 * sign(1 - 4) = 3
    assert moved(config.FedYogi(**settings)) == pytest.approx(10 + 0.1 / (3**0.5 + 1))


def test_scaffold_sends_how_far_a_sites_control_variate_is_from_their_mean() -> None:
    strategy = started(config.Scaffold())
    assert strategy.sent_to("a", 0).keys() == {"w", "control.w"}
    deltas: dict[str, Tensors] = {s: d | {"control.w": 2 * d["w"]} for s, d in DELTAS.items()}
    strategy.update(0, deltas, SHARES)
    assert strategy.weights["w"].tolist() == [12.0]
    # The plain mean of 2 and 10 is 6.
    assert [strategy.sent_to(site, 1)["control.w"].tolist() for site in "ab"] == [[4.0], [-4.0]]
    strategy.update(1, {"a": {"w": np.zeros(1, np.float32), "control.w": np.array([4.0], np.float32)}}, {"a": 1.0})
    assert [strategy.sent_to(site, 2)["control.w"].tolist() for site in "ab"] == [[3.0], [-3.0]]  # 10 is still b's


def test_models_of_a_daisy_chain_change_places_until_the_mean() -> None:
    strategy = started(config.Daisy(mean_every=3))
    strategy.update(0, DELTAS, SHARES)
    assert sorted(float(strategy.sent_to(s, 1)["w"][0]) for s in SITES) == [11.0, 15.0]
    strategy.update(1, DELTAS, SHARES)
    strategy.update(2, DELTAS, SHARES)
    assert float(strategy.sent_to("a", 3)["w"][0]) == float(strategy.sent_to("b", 3)["w"][0])


@pytest.mark.parametrize(
    "settings", [config.FedAvg(), config.FedYogi(), config.DiLoCo(), config.Scaffold(), config.Daisy()]
)
def test_a_resumed_strategy_goes_on_to_the_same_weights(settings: config.Strategy) -> None:
    deltas: dict[str, Tensors] = {s: d | {"control.w": d["w"]} for s, d in DELTAS.items()}
    whole, first, second = (started(settings) for _ in range(3))
    for round_ in range(4):
        whole.update(round_, deltas, SHARES)
    for round_ in range(2):
        first.update(round_, deltas, SHARES)
    second.weights = {n: w.copy() for n, w in first.weights.items()}
    second.load_state({n: t.copy() for n, t in first.state().items()})
    for round_ in range(2, 4):
        second.update(round_, deltas, SHARES)
    np.testing.assert_array_equal(second.weights["w"], whole.weights["w"])
    for site in SITES:
        one, other = (strategy.sent_to(site, 4) for strategy in (second, whole))
        assert {name: tensor.tolist() for name, tensor in one.items()} == {n: t.tolist() for n, t in other.items()}


def test_the_mean_does_not_depend_on_the_order_of_the_sites() -> None:
    rng = np.random.default_rng(0)
    deltas = {s: {"w": rng.normal(size=50).astype(np.float32)} for s in "abcde"}
    shares = dict(zip("abcde", rng.dirichlet(np.ones(5)), strict=True))
    back = dict(reversed(deltas.items()))
    np.testing.assert_array_equal(mean_of(deltas, shares, deltas["a"])["w"], mean_of(back, shares, deltas["a"])["w"])


def test_a_site_moves_its_own_row_in_full_and_no_other() -> None:
    change = {"site.weight": np.array([[4.0], [1.0], [2.0]], np.float32)}
    kept = own_rows_only(change, 2)
    assert kept["site.weight"].ravel().tolist() == [4.0, 0.0, 2.0]
    nothing = {"site.weight": np.zeros((3, 1), np.float32)}
    moved = mean_by_row({"a": kept, "b": nothing}, {"a": 0.25, "b": 0.75}, nothing)["site.weight"]
    assert moved.ravel().tolist() == [4.0, 0.0, 2.0]


@pytest.mark.parametrize("settings", [config.FedAvg(), config.Daisy()])
def test_the_row_of_a_code_moves_by_the_mean_of_the_sites_that_know_it(settings: config.Strategy) -> None:
    strategy = started(settings, weights={"code": np.zeros((3, 1), np.float32)})
    deltas = {"a": {"code": np.array([[1.0], [0.0], [0.0]])}, "b": {"code": np.array([[5.0], [8.0], [0.0]])}}
    strategy.update(0, deltas, SHARES)
    assert strategy.weights["code"].ravel().tolist() == [2.0, 8.0, 0.0]


def settles_at(*, share_moments: bool) -> float:
    """Where two sites with 10 w^2 / 2 and (w - 1)^2 / 2, noisy gradients and AdamW steps agree."""
    rng = np.random.default_rng(0)
    strategy = started(config.FedAvg(), share_moments=share_moments)
    strategy.weights["w"][:] = 0.5
    local = {site: torch.nn.Parameter(torch.zeros(1)) for site in SITES}
    optimizers = {
        site: torch.optim.AdamW([w], lr=0.003, betas=(0.9, 0.98), weight_decay=0) for site, w in local.items()
    }
    found = []
    for round_ in range(300):
        deltas: dict[str, Tensors] = {}
        for (site, weight), (curve, centre) in zip(local.items(), ((10.0, 0.0), (1.0, 1.0)), strict=True):
            sent, state = strategy.sent_to(site, round_), optimizers[site].state[weight]
            weight.data = torch.from_numpy(sent["w"].copy())
            if share_moments and round_:
                state["exp_avg_sq"] = torch.from_numpy(sent[SQUARES + "w"].copy())
            for _ in range(5):
                weight.grad = curve * (weight.detach() - centre + torch.from_numpy(rng.normal(0, 0.5, 1)).float())
                optimizers[site].step()
            deltas[site] = {"w": weight.detach().numpy() - sent["w"]}
            if share_moments:
                deltas[site][SQUARES + "w"] = optimizers[site].state[weight]["exp_avg_sq"].numpy().copy()
        strategy.update(round_, deltas, {"a": 0.5, "b": 0.5})
        found.append(float(strategy.weights["w"][0]))
    return float(np.mean(found[150:]))


def test_sites_with_shared_moments_settle_where_the_mean_loss_is_least() -> None:
    assert settles_at(share_moments=True) == pytest.approx(1 / 11, abs=0.05)
    assert settles_at(share_moments=False) > 0.3  # steps of one size: half way, whatever the curvature


def test_shared_moments_are_means_by_row_and_outlast_a_restart() -> None:
    strategy = started(config.DiLoCo(), share_moments=True)
    assert strategy.sent_to("a", 0)[SQUARES + "w"].tolist() == [0.0]
    deltas = {s: d | {SQUARES + "w": 2 * d["w"]} for s, d in DELTAS.items()}
    strategy.update(0, deltas, SHARES)
    assert strategy.sent_to("b", 1)[SQUARES + "w"].tolist() == [4.0]
    assert strategy.weights["w"][0] == pytest.approx(12.66)  # by the updates alone
    private = config.FederatedConfig(privacy=config.Privacy())
    assert isinstance(make_strategy(private, strategy.weights, SITES), Averaging)  # noise is not shared
    again = started(config.DiLoCo(), share_moments=True)
    again.weights = {name: weight.copy() for name, weight in strategy.weights.items()}
    again.load_state({name: tensor.copy() for name, tensor in strategy.state().items()})
    for one in (strategy, again):
        one.update(1, deltas, SHARES)
    assert again.weights["w"][0] == pytest.approx(16.454)
    assert again.sent_to("a", 2).keys() == strategy.sent_to("a", 2).keys()


@pytest.mark.parametrize("settings", [config.FedAvg(rate=0.5), config.DiLoCo(), config.FedAdam()])
def test_settling_takes_the_plain_mean(settings: config.Strategy) -> None:
    strategy = started(settings, share_moments=True)
    deltas = {s: d | {SQUARES + "w": 2 * d["w"]} for s, d in DELTAS.items()}
    strategy.settle(deltas, SHARES)
    assert strategy.weights["w"].tolist() == [12.0]
    assert strategy.sent_to("a", 1)[SQUARES + "w"].tolist() == [4.0]
