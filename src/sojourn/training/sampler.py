"""Makes the samples of each step, in a thread ahead of the optimiser."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice

import numpy as np
import torch

from sojourn.training.at_risk import starts
from sojourn.training.batches import collate, pack, positions
from sojourn.training.config import PretrainConfig
from sojourn.training.loss import Sample
from sojourn.training.plan import Step, cut
from sojourn.training.records import Ints, RecordReader
from sojourn.training.targets import FirstTargets, Moments, draw_moments, first_targets, value_targets

_STEPS_AHEAD = 3
_MAX_PAIRS = 1_000_000


class Sampler:
    """Turns a planned step into tensors; the same seed and step number give the same sample.

    Parameters
    ----------
    reader : reads the store.
    config : the run's settings.
    outcomes : model codes that are asked at every instant.
    any_weight : probability of each code of the vocabulary to be asked at random; zero for none.
    """

    def __init__(self, reader: RecordReader, config: PretrainConfig, outcomes: Ints, any_weight: np.ndarray) -> None:
        self.reader, self.config, self.outcomes = reader, config, outcomes
        self._any_weight = any_weight / max(any_weight.sum(), 1e-12)
        self._num_any = min(config.num_any_codes, int((any_weight > 0).sum()))
        self._starts = starts(reader)
        network = config.network()
        self._num_heads, self._with_past = network.num_bootstrap_heads, network.use_summary

    def sample(self, step: Step, number: int, *, is_training: bool) -> Sample:
        """The sample of one step; without `is_training` nothing is hidden and every site is known."""
        config = self.config
        rng = np.random.default_rng([config.seed, number, int(is_training), step.share])
        change = rng if is_training else None
        thin_share, unknown_share = config.thin_share, config.unknown_share
        records = self.reader.read(step.rows, rng=change, thin_share=thin_share, unknown_share=unknown_share)
        windows = cut(records, step, config.context)
        layout = pack(windows)
        batch = collate(records, windows, layout)
        if is_training:
            is_dropped = torch.from_numpy(rng.random(len(windows.subject)) < config.site_dropout)
            dropped = torch.cat([is_dropped, torch.ones(1, dtype=torch.bool)])[batch.segment]
            batch = batch._replace(site=torch.where(dropped, 0, batch.site))
        where = positions(windows, layout)
        policy = torch.ones(batch.segment.numel(), dtype=torch.bool)
        policy[torch.from_numpy(where.flat)] = torch.from_numpy(~records.is_thinned[windows.subject[where.window]])

        moments = draw_moments(
            records,
            windows,
            layout,
            rng=rng,
            num_heads=self._num_heads,
            max_queries=step.own(config.num_outcome_queries),
            with_past=self._with_past,
            bootstrap_seed=config.seed if is_training else None,
        )
        outcomes = first_targets(records, moments, self.outcomes, self._starts)
        any_codes = None
        if self._num_any and config.any_code_weight:
            chosen = rng.choice(len(self._any_weight), self._num_any, replace=False, p=self._any_weight)
            num_asked = min(step.own(config.num_any_queries), len(moments.position))
            asked_at = rng.choice(len(moments.position), num_asked, replace=False)
            any_codes = first_targets(records, moments, np.sort(chosen), moment_R=np.sort(asked_at))
        values = None
        if config.value_query_weight and config.num_value_queries:
            values = value_targets(records, windows, layout, rng=rng, num_queries=step.own(config.num_value_queries))
        return Sample(batch, policy.view(batch.segment.shape), moments, outcomes, any_codes, values, step.is_counted)

    def ask_all(self, step: Step, number: int) -> tuple[Moments, FirstTargets]:
        """Questions for every code of the vocabulary at some moments of a step's records."""
        rng = np.random.default_rng([self.config.seed, number])
        records = self.reader.read(step.rows)
        windows = cut(records, step, self.config.context)
        codes = np.arange(self.reader.num_codes)
        most = max(1, min(self.config.num_outcome_queries, _MAX_PAIRS // len(codes)))
        moments = draw_moments(records, windows, pack(windows), rng=rng, num_heads=1, max_queries=most)
        return moments, first_targets(records, moments, codes, self._starts)

    def stream(
        self, steps: Iterator[Step], first: int, count: int, *, shares: range = range(1), num_shares: int = 1
    ) -> Iterator[tuple[Step, list[Sample]]]:
        """Training samples of steps `first` to `first + count - 1`, prepared ahead in a thread.

        Each step comes with one sample for each of its `num_shares` shares that are in `shares`.
        """
        numbered = enumerate(islice(steps, first, first + count), first)
        yield from self.prepare(numbered, shares=shares, num_shares=num_shares)

    def prepare(
        self, numbered: Iterable[tuple[int, Step]], *, shares: range = range(1), num_shares: int = 1
    ) -> Iterator[tuple[Step, list[Sample]]]:
        """Training samples of numbered steps, as `stream` gives them."""

        def samples(step: Step, number: int) -> list[Sample]:
            parts = step.shares(num_shares)
            return [self.sample(parts[i], number, is_training=True) for i in shares]

        num_threads = torch.get_num_threads()
        # With as many threads for its own operations, it would take the processor from the optimiser's.
        own = partial(torch.set_num_threads, 1)
        with ThreadPoolExecutor(1, thread_name_prefix="sampler", initializer=own) as pool:
            waiting: list[tuple[Step, Future[list[Sample]]]] = []
            try:
                for number, step in numbered:
                    waiting.append((step, pool.submit(samples, step, number)))
                    if len(waiting) > _STEPS_AHEAD:
                        done, future = waiting.pop(0)
                        yield done, future.result()
                for done, future in waiting:
                    yield done, future.result()
            finally:
                for _, future in waiting:
                    future.cancel()
                torch.set_num_threads(num_threads)  # what a thread has set holds for threads that are born later
