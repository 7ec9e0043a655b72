"""The variants of the ablations: their likelihoods are exact, and they stand in for the network only for a while."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

import sojourn.training.run
from helpers.model_records import NAN, NUM_CODES, Event, Record, make_batch, random_record
from sojourn.model import Batch, CodeTable, ModelConfig, Network

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")
VARIANTS = {"bins": "BinValues", "causal": "CausalDecoder", "per_event": "PerEvent"}
CONFIG = ModelConfig(d_model=32, d_event=16, d_decoder=32, num_layers=2, num_heads=4, dropout=0.0)


@pytest.fixture(scope="module")
def module() -> dict[str, ModuleType]:
    """The modules of `benchmarks/variants`, which are no part of the package."""
    sys.path.insert(0, BENCHMARKS)
    try:
        names = (*VARIANTS, "checks", "replace")
        return {name: importlib.import_module(f"variants.{name}") for name in names}
    finally:
        sys.path.remove(BENCHMARKS)


def make(variant: type[Network]) -> Network:
    can_emit = torch.ones(NUM_CODES, dtype=torch.bool)
    can_emit[[9, 10, 11]] = False
    codes = CodeTable(
        loc=torch.full((NUM_CODES,), 55.0),
        scale=torch.full((NUM_CODES,), 10.0),
        tick=torch.ones(NUM_CODES),
        can_emit=can_emit,
        value_share=torch.where(torch.arange(NUM_CODES) < 7, 0.99, 0.01),
        log_hazard=torch.full((NUM_CODES, 19), -3.0),
    )
    torch.manual_seed(0)
    made = variant(CONFIG, codes, 2)
    with torch.no_grad():  # away from the symmetric start, where many mistakes would not show
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


@pytest.mark.parametrize("name", VARIANTS)
def test_probabilities_sum_to_one_and_the_past_does_not_know_the_future(
    module: dict[str, ModuleType], name: str
) -> None:
    network = make(getattr(module[name], VARIANTS[name]))
    module["checks"].check(network, make_batch([[random_record(1, 4)]]))


@torch.no_grad()
@pytest.mark.parametrize("name", VARIANTS)
def test_packing_and_padding_change_nothing(module: dict[str, ModuleType], name: str) -> None:
    network = make(getattr(module[name], VARIANTS[name]))
    records = [random_record(seed, 5 + seed) for seed in range(4)]
    alone = [network.log_prob(make_batch([[r]], survival_s=600.0)) for r in records]
    packed = network.log_prob(
        make_batch([[records[0], records[1]], [records[2], records[3]]], survival_s=600.0, padding=3)
    )
    for part in ("gap", "code", "value"):
        assert sum(getattr(p, part).sum() for p in alone) == pytest.approx(float(getattr(packed, part).sum()), rel=1e-4)


def one_event_each() -> Batch:
    record = random_record(4, 7)
    return make_batch([[Record(record.minutes, [events[-1:] for events in record.events], record.static)]])


@torch.no_grad()
def test_one_position_per_event_is_the_network_itself_where_instants_hold_one_event(
    module: dict[str, ModuleType],
) -> None:
    network, other, batch = make(Network), make(module["per_event"].PerEvent), one_event_each()
    torch.testing.assert_close(other.states(batch), network.states(batch))
    ours, theirs = other.log_prob(batch), network.log_prob(batch)
    torch.testing.assert_close(ours.gap, theirs.gap)
    torch.testing.assert_close(ours.value, theirs.value)
    # The code is chosen alike; END is read from the state after the event, no longer from a sum.
    phi = other.phi(batch)
    made = other.decisions(batch, phi, other.states_before(batch, other.states_of(batch, phi)))
    is_scored = batch.is_predicted.flatten()[batch.event_position]
    torch.testing.assert_close(ours.code[is_scored], made.code + made.end)
    module["checks"].check(other, batch)


@torch.no_grad()
def test_a_decision_knows_what_came_before_it_in_the_instant(module: dict[str, ModuleType]) -> None:
    instant = [Event(2, 50.0), Event(4, 60.0), Event(6, 40.0)]

    def last_code(network: Network, first: Event) -> float:
        return float(network.log_prob(make_batch([[Record([5], [[first, *instant[1:]]], [])]])).code[-1])

    for name in ("causal", "per_event"):
        network = make(getattr(module[name], VARIANTS[name]))
        assert last_code(network, instant[0]) != pytest.approx(last_code(network, Event(2, 90.0)), abs=1e-4)


@torch.no_grad()
def test_a_decoder_that_peeks_is_found_out(module: dict[str, ModuleType]) -> None:
    class Peeking(module["causal"].CausalDecoder):  # type: ignore[name-defined, misc]
        def decision_states(self, batch: Batch, found: object, phi_ND: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
            u, u_end = super().decision_states(batch, found, phi_ND, before)
            return u + phi_ND.repeat(1, 2), u_end

    with pytest.raises(AssertionError, match="sum to one"):
        module["checks"].check(make(Peeking), make_batch([[random_record(1, 4)]]))


def test_mass_of_bins_is_that_of_a_fine_grid(module: dict[str, ModuleType]) -> None:
    head = module["bins"].BinHead(CONFIG)
    with torch.no_grad():
        head.out.bias.add_(torch.randn(head.out.bias.shape, generator=torch.Generator().manual_seed(1)))
        density = head(torch.randn(1, 32), torch.randn(1, 16), torch.randn(1, 28), torch.tensor([0.3]))
    ends = torch.linspace(-60, 60, 240_001)
    mass = density.log_mass(ends[:-1], ends[1:]).exp().double()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-3)
    inside = (ends[:-1] >= -1) & (ends[1:] <= 0.7)
    whole = density.log_mass(ends[:-1][inside][:1], ends[1:][inside][-1:]).exp()
    assert float(whole) == pytest.approx(float(mass[inside].sum()), abs=1e-3)
    far = density.log_mass(torch.tensor([300.0]), torch.tensor([300.0]))
    assert torch.isfinite(far).all()


def test_bins_have_finite_gradients_far_out(module: dict[str, ModuleType]) -> None:
    head = module["bins"].BinHead(CONFIG)
    inputs = (torch.randn(3, 32), torch.randn(3, 16), torch.randn(3, 28), torch.tensor([0.3, NAN, -9.0]))
    middle = torch.tensor([-12.0, 0.0, 11.0])
    head(*inputs).log_mass(middle - 1e-4, middle + 1e-4).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)


def test_a_variant_stands_in_the_place_of_the_network_only_inside_the_block(module: dict[str, ModuleType]) -> None:
    replace, variant = module["replace"], module["bins"].BinValues
    clock = replace.StepClock()
    with replace.in_place(variant, clock):
        network = make(sojourn.training.run.Network)
        assert isinstance(network, variant)
        network.train()
        for _ in range(12):
            network.log_prob(one_event_each())
        network.eval()
        network.log_prob(one_event_each())
    assert sojourn.training.run.Network is Network
    assert (clock.num_networks, clock.num_steps) == (1, 12)
    assert 0 < clock.step_s <= clock.total_s


def test_a_variant_that_nobody_made_is_an_error(module: dict[str, ModuleType]) -> None:
    with pytest.raises(RuntimeError, match="was not used"), module["replace"].in_place(Network):
        pass
