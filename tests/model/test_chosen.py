"""The chosen codes' log-probabilities are those of the masked softmax, and so are their gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sojourn.model import Network, chosen
from sojourn.model.chosen import DecisionBias, InstantBias, chosen_log_prob

Decisions = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def decisions(num_decisions: int, num_codes: int, seed: int = 0) -> Decisions:
    """Features, weights and biases, the last code and a code (or END) that may follow it."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(num_decisions, 6, generator=draw)
    weight, bias = torch.randn(num_codes + 1, 6, generator=draw), torch.randn(num_codes + 1, generator=draw)
    bias[num_codes // 2] = -torch.inf  # cannot be emitted
    last = torch.randint(-1, num_codes, (num_decisions,), generator=draw)
    first = last.clamp_min(0)
    target = first + (torch.rand(num_decisions, generator=draw) * (num_codes + 1 - first)).long()
    target = torch.where((target == num_codes // 2) | ((last < 0) & (target == num_codes)), num_codes - 1, target)
    return (x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), last, target)


def reference(x: Tensor, weight: Tensor, bias: Tensor, last: Tensor, target: Tensor) -> Tensor:
    logit = x @ weight.T + bias
    is_possible = torch.arange(len(bias)) >= last[:, None]
    is_possible[:, -1] = last >= 0
    return torch.log_softmax(logit.masked_fill(~is_possible, -torch.inf), -1).gather(1, target[:, None])[:, 0]


@pytest.mark.parametrize("num_decisions", [1, 40, 333])
@pytest.mark.parametrize("elements", [1, 600, 10**6])
@pytest.mark.parametrize("most_kept", [0, 10**6])
def test_values_and_gradients_are_those_of_a_masked_softmax(
    num_decisions: int, elements: int, most_kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(chosen._CHUNK, "cpu", elements)
    monkeypatch.setattr(chosen, "_MOST_KEPT", most_kept)
    asked = decisions(num_decisions, 30)
    got, expected = chosen_log_prob(*asked), reference(*asked)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    weight = torch.linspace(-1.0, 2.0, num_decisions)
    mine, theirs = (torch.autograd.grad((out * weight).sum(), asked[:3]) for out in (got, expected))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("elements", [1, 600, 10**6])
@pytest.mark.parametrize("most_kept", [0, 10**6])
@pytest.mark.parametrize("which", ["instant", "decision", "both"])
def test_biases_are_added_to_the_logits(
    which: str, elements: int, most_kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(chosen._CHUNK, "cpu", elements)
    monkeypatch.setattr(chosen, "_MOST_KEPT", most_kept)
    asked, draw = decisions(120, 30), torch.Generator().manual_seed(1)
    x, weight, bias, last, target = asked
    value = torch.randn(20, 30, generator=draw).requires_grad_()
    of_instant = InstantBias(value, torch.randint(0, 20, (120,), generator=draw))
    codes = torch.stack([torch.randperm(31, generator=draw)[:4] for _ in range(120)])  # END, 30, may have one
    codes[::2, 2:] = -1
    own = torch.randn(120, 4, generator=draw).requires_grad_()
    of_decision = DecisionBias(codes, own)
    chosen_ones = (of_instant if which != "decision" else None, of_decision if which != "instant" else None)
    got = chosen_log_prob(*asked, *chosen_ones)
    added = torch.zeros(120, 31)
    added = added + F.pad(of_instant.dense(), (0, 1)) if chosen_ones[0] else added
    if chosen_ones[1]:
        of_decision.add_to(added)
    expected = reference(torch.cat([x, added], 1), torch.cat([weight, torch.eye(31)], 1), bias, last, target)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    per_row, learnt = torch.linspace(-1.0, 2.0, 120), [x, weight, bias]
    learnt += [value] if chosen_ones[0] else []
    learnt += [own] if chosen_ones[1] else []
    mine, theirs = (torch.autograd.grad((out * per_row).sum(), learnt) for out in (got, expected))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    if chosen_ones[1]:
        assert not mine[-1][::2, 2:].any()


def test_products_follow_autocast_and_sums_do_not() -> None:
    asked = decisions(500, 200)
    exact = reference(*asked).detach()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = chosen_log_prob(*asked).detach()
    assert rounded.dtype == torch.float32
    assert 0 < float((rounded - exact).abs().max()) < 0.2
    assert abs(float((rounded - exact).mean())) < 5e-3


def test_an_unlikely_choice_keeps_its_digits() -> None:
    weight, bias = torch.zeros(3, 1), torch.tensor([0.0, 300.0, 0.0])
    got = chosen_log_prob(torch.ones(1, 1), weight, bias, torch.tensor([0]), torch.tensor([0]))
    assert float(got) == -300.0  # its probability is no float32


def test_no_decisions_give_no_numbers() -> None:
    x, weight, bias, last, target = decisions(4, 10)
    out = chosen_log_prob(x[:0], weight, bias, last[:0], target[:0])
    assert out.shape == (0,)


@torch.no_grad()
def test_the_head_gathers_what_it_would_give_in_full(network: Network) -> None:
    head, embedding = network.code_head, network.events.code.weight
    u, z = torch.randn(20, network.config.d_decoder), torch.randn(20, network.config.d_site)
    last = torch.randint(-1, 8, (20,))
    whole = head(u, z, embedding, last)
    for target in (8, len(embedding)):
        is_possible = (last >= 0) | (target < len(embedding))
        asked = torch.full((20,), target)
        got = head.chosen(u[is_possible], z[is_possible], embedding, last[is_possible], asked[is_possible])
        torch.testing.assert_close(got, whole[is_possible, target])
