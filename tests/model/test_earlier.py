"""The embedding of events: what decisions know of the earlier ones of their instant."""

import torch

from sojourn.model.embedding import NUM_RECENT, Earlier, earlier_events


def test_decisions_know_the_sum_and_the_last_of_the_earlier_events() -> None:
    count = [3, 1, 40, 2]
    rank = torch.cat([torch.arange(n) for n in count])
    end = torch.tensor(count).cumsum(0) - 1
    phi = torch.randn(sum(count), 5)
    got = earlier_events(phi, rank, end)
    first = [e - r for e, r in enumerate(rank.tolist())] + [e - n + 1 for e, n in zip(end.tolist(), count, strict=True)]
    stop = [*range(len(phi)), *(end + 1).tolist()]
    for i, (a, b) in enumerate(zip(first, stop, strict=True)):
        torch.testing.assert_close(got.total[i], phi[a:b].sum(0))
        latest = phi[a:b].flip(0)[:NUM_RECENT].flatten()
        torch.testing.assert_close(got.recent[i, : len(latest)], latest)
        assert not got.recent[i, len(latest) :].any()


def test_one_event_after_the_other_is_the_same() -> None:
    phi = torch.randn(6, 4)
    wanted = earlier_events(phi, torch.arange(6), torch.tensor([5]))
    so_far = Earlier.none(1, phi)
    for i in range(7):
        torch.testing.assert_close(so_far.total[0], wanted.total[i])
        torch.testing.assert_close(so_far.recent[0], wanted.recent[i])
        so_far = so_far.then(phi[i : i + 1]) if i < 6 else so_far
