"""Which windows each step trains on: a pure function of the seed, so that a resumed run sees the same ones."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sojourn.training.batches import Windows
from sojourn.training.records import Ints, Records


class Step(NamedTuple):
    """The subjects of one step and, for each, which part of its record."""

    epoch: int
    rows: Ints
    """(W,) rows of subjects in the store; a long subject may occur more than once."""
    part: Ints
    """(W,) which stretch of `context` instants."""
    shift: Ints
    """(W,) instants by which the stretches of the subject but the first are moved in this epoch."""
    size: Ints
    """(W,) positions that the window is planned with, at most."""
    share: int = 0
    """Which share of the planned step this is."""
    num_shares: int = 1
    is_counted: bool = True
    """False for a share without windows of its own: it repeats one, for nothing."""

    def own(self, count: int) -> int:
        """How many of `count` random draws of the whole step this share makes."""
        return (count + self.share) // self.num_shares

    def shares(self, count: int) -> "list[Step]":
        """Cut the step into `count` runs of windows of about equal size, each with its own random draws.

        A step with fewer windows than shares leaves some empty; these hold the first window and do not count, since
        every process has to take part in every step.
        """
        if count == 1:
            return [self]
        end = np.cumsum(self.size)
        cuts = np.searchsorted(end - self.size / 2, end[-1] * np.arange(1, count) / count)
        found = []
        for i, own in enumerate(np.split(np.arange(len(end)), cuts)):
            chosen, is_counted = (own, True) if len(own) else (np.zeros(1, dtype=np.int64), False)
            found.append(
                Step(
                    self.epoch,
                    self.rows[chosen],
                    self.part[chosen],
                    self.shift[chosen],
                    self.size[chosen],
                    share=i,
                    num_shares=count,
                    is_counted=is_counted,
                )
            )
        return found


def steps(rows: Ints, num_instants: Ints, *, context: int, instants_per_batch: int, seed: int) -> Iterator[Step]:
    """Endless steps: in each epoch, every stretch of every subject once, in random order."""
    epoch = 0
    while True:
        yield from epoch_steps(
            rows, num_instants, context=context, instants_per_batch=instants_per_batch, seed=seed, epoch=epoch
        )
        epoch += 1


def epoch_steps(
    rows: Ints, num_instants: Ints, *, context: int, instants_per_batch: int, seed: int, epoch: int
) -> list[Step]:
    """The steps of one epoch.

    The first stretch of every record is whole, those after it are cut at another place in each epoch. Where a window
    begins must not depend on what comes after it: were only long records cut inside their first `context` instants, a
    window that shows the admission and goes on for long would tell that the record ends soon.
    """
    rng = np.random.default_rng([seed, epoch])
    shift = rng.integers(0, context, len(rows))
    later = np.ceil((num_instants - context + shift) / context).astype(np.int64)
    parts = 1 + np.where(num_instants > context, later, 0)
    item = np.repeat(np.arange(len(rows)), parts)
    part = np.arange(len(item)) - np.repeat(np.cumsum(parts) - parts, parts)
    order = rng.permutation(len(item))
    item, part = item[order], part[order]
    size = np.minimum(num_instants[item], context) + 1
    batch = (np.cumsum(size) - 1) // instants_per_batch
    cuts = np.flatnonzero(np.diff(batch)) + 1
    return [
        Step(epoch, rows[i], p, shift[i], n)
        for i, p, n in zip(*(np.split(column, cuts) for column in (item, part, size)), strict=True)
        if len(i)
    ]


def cut(records: Records, step: Step, context: int) -> Windows:
    """Windows of a step, from the records of its subjects in the same order."""
    first, last = records.subject_start[:-1], records.subject_start[1:]
    is_later, moved = step.part > 0, step.part * context - step.shift
    # One more instant before a later stretch, so that its first own instant has a state to be predicted from.
    start = first + np.where(is_later, np.maximum(moved, context) - 1, 0)
    end = first + context + np.where(is_later, moved, 0)
    start = np.minimum(start, last)
    return Windows(np.arange(len(first)), start, np.clip(end, start, last))
