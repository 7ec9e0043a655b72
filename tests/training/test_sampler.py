"""Samples of steps: the same again from the same numbers, ahead of time or not."""

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric.utilities import move_data_to_device
from torch import Tensor

from helpers.toy_process import SETTINGS
from sojourn.training.config import read_config
from sojourn.training.loss import Counts, Sample
from sojourn.training.plan import Step, steps
from sojourn.training.records import RecordReader
from sojourn.training.sampler import Sampler
from sojourn.training.targets import bootstrap_weights


def sampler_of(reader: RecordReader, **changes: Any) -> Sampler:
    outcomes = np.array([reader.vocabulary.index["OUTCOME//death"]])
    is_shown = ~(reader.vocabulary.table["target_only"] | reader.vocabulary.table["is_static"]).to_numpy()
    return Sampler(reader, read_config(SETTINGS | changes), outcomes, is_shown.astype(float))


@pytest.fixture(scope="module")
def plan(toy_reader: RecordReader) -> list[Step]:
    rows = toy_reader.store.rows(split="train")
    sizes = toy_reader.store.subjects["num_instants"].to_numpy().astype(np.int64)[rows]
    return list(islice(steps(rows, sizes, context=32, instants_per_batch=512, seed=0), 6))


def tensors(sample: Sample) -> list[Tensor]:
    asked = [sample.moments, sample.moments.past or (), sample.outcomes, sample.any_codes or ()]
    parts = [sample.batch, *asked, sample.values or ()]
    return [sample.is_policy_scored, *(t for part in parts for t in part if isinstance(t, Tensor))]


def assert_same(one: Sample, two: Sample) -> None:
    for a, b in zip(tensors(one), tensors(two), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_the_heads_of_a_run_learn_from_subjects_that_its_seed_draws(toy_reader: RecordReader, plan: list[Step]) -> None:
    """Were they the same for every run, the heads of an ensemble would agree by construction."""
    for seed in (0, 1):
        asked = sampler_of(toy_reader, seed=seed).sample(plan[0], 0, is_training=True).moments
        for drawn_with in (0, 1):
            weights = bootstrap_weights(plan[0].rows, asked.weight.shape[1], seed=drawn_with)
            known = {tuple(row) for row in weights.tolist()}
            is_drawn = [tuple(row) in known for row in asked.weight.tolist()]
            assert np.mean(is_drawn) == 1 if drawn_with == seed else np.mean(is_drawn) < 0.9


def test_a_sample_depends_on_seed_and_number_alone(toy_reader: RecordReader, plan: list[Step]) -> None:
    sampler = sampler_of(toy_reader, thin_share=0.5)
    first = sampler.sample(plan[0], 0, is_training=True)
    sampler.sample(plan[1], 1, is_training=True)
    assert_same(sampler.sample(plan[0], 0, is_training=True), first)
    other = sampler.sample(plan[0], 1, is_training=True)
    assert other.batch.num_events != first.batch.num_events  # other events are hidden


def test_the_stream_gives_the_same_samples_from_any_start(toy_reader: RecordReader, plan: list[Step]) -> None:
    sampler = sampler_of(toy_reader)
    whole = list(sampler.stream(iter(plan), 0, 6))
    late = list(sampler.stream(iter(plan), 4, 2))
    assert [step.rows.tolist() for step, _ in whole] == [step.rows.tolist() for step in plan]
    for (_, [one]), (_, [two]) in zip(whole[4:], late, strict=True):
        assert_same(one, two)


def test_a_stream_can_be_left_early_and_passes_errors_on(toy_reader: RecordReader, plan: list[Step]) -> None:
    stream = sampler_of(toy_reader).stream(iter(plan), 0, 6)
    next(stream)
    stream.close()
    bad = plan[0]._replace(rows=np.array([10**6]), part=np.array([0]), shift=np.array([0]))
    with pytest.raises(IndexError):
        list(sampler_of(toy_reader).stream(iter([bad]), 0, 1))


def test_samples_are_made_by_one_thread_and_take_none_from_the_optimiser(
    toy_reader: RecordReader, plan: list[Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, made_with = sampler_of(toy_reader), []
    sample = sampler.sample

    def noting(*given: Any, **more: Any) -> Sample:
        made_with.append(torch.get_num_threads())
        return sample(*given, **more)

    monkeypatch.setattr(sampler, "sample", noting)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert [torch.get_num_threads() for _ in sampler.stream(iter(plan), 0, 3)] == [3, 3, 3]
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)
    assert made_with == [1, 1, 1]


def test_sites_are_dropped_by_window_in_training_only(toy_reader: RecordReader, plan: list[Step]) -> None:
    sampler = sampler_of(toy_reader, site_dropout=0.5)
    kept = [sampler.sample(step, i, is_training=True).batch for i, step in enumerate(plan)]
    whole = [sampler.sample(step, i, is_training=False).batch for i, step in enumerate(plan)]
    shares = []
    for dropped, full in zip(kept, whole, strict=True):
        for segment in range(int(full.segment.max()) + 1):
            before, after = full.site[full.segment == segment], dropped.site[dropped.segment == segment]
            assert len(after.unique()) == 1
            if before[0] > 0:
                shares.append(float(after[0] == 0))
    assert 0.35 < np.mean(shares) < 0.65
    assert all((b.site[b.segment < 0] == 0).all() for b in kept)


def test_the_policy_of_thinned_subjects_is_not_scored(toy_reader: RecordReader, plan: list[Step]) -> None:
    for share, expected in ((1.0, 0.0), (0.0, 1.0)):
        sample = sampler_of(toy_reader, thin_share=share).sample(plan[0], 0, is_training=True)
        used = sample.batch.segment >= 0
        assert sample.is_policy_scored[used].float().mean() == expected


def test_parts_that_weigh_nothing_are_not_asked(toy_reader: RecordReader, plan: list[Step]) -> None:
    sampler = sampler_of(toy_reader, any_code_weight=0.0, value_query_weight=0.0)
    sample = sampler.sample(plan[0], 0, is_training=True)
    assert sample.any_codes is None
    assert sample.values is None


def test_codes_asked_at_random_are_some_of_those_with_weight(toy_reader: RecordReader, plan: list[Step]) -> None:
    is_target = toy_reader.vocabulary.table["target_only"].to_numpy()
    asked = [sampler_of(toy_reader).sample(plan[0], i, is_training=True).any_codes for i in range(20)]
    codes = np.stack([targets.code.numpy() for targets in asked if targets is not None])
    assert codes.shape == (20, 4)
    assert not is_target[codes].any()
    assert len(np.unique(codes)) > 8


def test_a_sample_moves_whole_to_another_device(toy_reader: RecordReader, plan: list[Step]) -> None:
    sample = sampler_of(toy_reader, any_code_weight=0.0).sample(plan[0], 0, is_training=True)
    moved = move_data_to_device(sample, torch.device("meta"))  # what Fabric's `to_device` does
    assert {tensor.device.type for tensor in tensors(moved)} == {"meta"}
    assert [tensor.shape for tensor in tensors(moved)] == [tensor.shape for tensor in tensors(sample)]
    assert (moved.any_codes, moved.is_counted) == (None, True)


def test_shares_of_a_step_ask_as_much_as_the_whole_and_draw_on_their_own(
    toy_reader: RecordReader, plan: list[Step]
) -> None:
    sampler = sampler_of(toy_reader)
    whole = sampler.sample(plan[0], 3, is_training=True)
    shares = [sampler.sample(share, 3, is_training=True) for share in plan[0].shares(3)]
    counts = Counts.sum(share.counts for share in shares)
    assert (counts.events, counts.queries, counts.any_queries) == whole.counts[:3]
    (_, own), (_, other) = (
        next(sampler.stream(iter(plan), 0, 1, shares=range(i, i + 1), num_shares=3)) for i in (1, 2)
    )
    assert_same(own[0], sampler.sample(plan[0].shares(3)[1], 0, is_training=True))
    assert other[0].counts.queries == len(other[0].moments.position)
