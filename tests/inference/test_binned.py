"""The likelihood in bins: the exact one told otherwise, and a distribution at every decision."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from inference.conftest import Toy
from sojourn.inference.binned import PARTS, binned_bits, token_log_prob
from sojourn.inference.bins import Bins, fit_bins
from sojourn.model import Batch
from sojourn.training.batches import collate, pack, whole_records


@pytest.fixture(scope="module")
def bins(toy: Toy) -> Bins:
    return fit_bins(toy.reader, toy.store.rows(split="train"), toy.network.events.tick)


@pytest.fixture(scope="module")
def batch(toy: Toy) -> Batch:
    records = toy.reader.read(toy.store.rows(split="held_out")[:12])
    windows = whole_records(records, 32)
    return collate(records, windows, pack(windows), with_survival=False)


@torch.inference_mode()
def test_parts_as_recorded_add_up_to_the_likelihood_of_the_network(toy: Toy, batch: Batch, bins: Bins) -> None:
    terms, whole = token_log_prob(toy.network, batch, bins), toy.network.log_prob(batch)
    assert torch.allclose(terms.gap_exact, whole.gap, atol=1e-5)
    assert torch.allclose(terms.value_exact, whole.value, atol=1e-5)
    code = terms.end.sum() + terms.go.sum() + terms.code.sum()
    assert code.item() == pytest.approx(whole.code.sum().item(), rel=1e-5)


@torch.inference_mode()
def test_a_bin_is_never_less_likely_than_what_was_recorded_in_it(toy: Toy, batch: Batch, bins: Bins) -> None:
    terms = token_log_prob(toy.network, batch, bins)
    assert (terms.gap >= terms.gap_exact - 1e-5).all()
    assert (terms.value >= terms.value_exact - 1e-5).all()
    assert terms.value.sum() > terms.value_exact.sum()


@torch.inference_mode()
def test_a_gap_without_a_token_is_paid_for_to_the_tick(toy: Toy, batch: Batch, bins: Bins) -> None:
    """Hourly gaps below a first edge of two and a half: with a token for them the mass of all of them counts."""
    broad = dataclasses.replace(bins, interval_edges_s=(2.5 * 3600.0, 86400.0))
    without, with_token = (
        token_log_prob(toy.network, batch, dataclasses.replace(broad, has_short_token=flag)) for flag in (False, True)
    )
    scored = batch.is_gap_predicted
    assert torch.equal(without.gap[scored], without.gap_exact[scored])
    assert (with_token.gap[scored] > without.gap[scored]).all()


@torch.inference_mode()
def test_masses_of_all_value_bins_sum_to_one(toy: Toy, bins: Bins) -> None:
    network, code = toy.network, toy.code("CONCEPT//heart_rate")
    count = int(bins.num_value_bins[code])
    codes = torch.full((count,), code)
    u = torch.randn(1, network.config.d_decoder, generator=torch.Generator().manual_seed(0)).expand(count, -1)
    density = network.value_density(u, codes, torch.full((count,), 82.0), torch.full((count,), 3600.0))
    ends = (network.events.normalise(codes, end) for end in bins.value_bin_ends(codes, torch.arange(count)))
    assert density.log_mass(*ends).exp().sum().item() == pytest.approx(1.0, abs=1e-5)


def test_every_event_but_those_of_the_first_instant_is_scored_once(toy: Toy, bins: Bins) -> None:
    rows = toy.store.rows(split="held_out")[:8]
    found = binned_bits(toy.network, toy.reader, rows, bins, context=8)
    records = toy.reader.read(rows)
    in_first = np.bincount(records.events.subject[np.isin(records.instant, records.subject_start[:-1])], minlength=8)
    assert (found.num_events == np.bincount(records.events.subject, minlength=8) - in_first).all()
    assert (found.num_instants == np.diff(records.subject_start) - 1).all()
    assert (found.bits >= 0).all()
    assert (found.bits.sum(1) <= found.exact.sum(1) + 1e-6).all()


def test_batches_of_windows_change_nothing(toy: Toy, bins: Bins) -> None:
    rows = toy.store.rows(split="held_out")[:8]
    many = binned_bits(toy.network, toy.reader, rows, bins, context=8, instants_per_batch=9)
    once = binned_bits(toy.network, toy.reader, rows, bins, context=8, instants_per_batch=4096)
    assert np.allclose(many.bits, once.bits, rtol=1e-4)


@torch.inference_mode()
def test_one_window_gives_the_sums_of_its_terms(toy: Toy, bins: Bins) -> None:
    """Worked from the terms of a record that fits into one window: all instants but the first, and the END of that."""
    row = toy.store.rows(split="held_out")[:1]
    records = toy.reader.read(row)
    assert 1 < len(records.instant_time) <= 32
    windows = whole_records(records, 32)
    one = collate(records, windows, pack(windows), with_survival=False)
    terms = token_log_prob(toy.network, one, bins)
    later = one.order[0] >= 2
    of_event = later[one.event_position]
    expected = {
        "end": terms.end[0, 1:-1].sum() + terms.go[of_event].sum(),
        "time": terms.gap.sum(),
        "code": terms.code[of_event].sum(),
        "value": terms.value[of_event].sum(),
    }
    found = binned_bits(toy.network, toy.reader, row, bins, context=64)
    for part, bits in zip(PARTS, found.bits[0], strict=True):
        assert bits == pytest.approx(-expected[part].item() / math.log(2), abs=1e-3)
    assert found.per_event()["total"] == pytest.approx(found.bits.sum() / found.num_events.sum())
