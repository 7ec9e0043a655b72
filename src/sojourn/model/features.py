"""Smooth features of real numbers and of time: overlapping bumps, so that a small network can bend anywhere.

Shape letters: * any shape, F features.
"""

import math

import torch
from torch import Tensor

_MINUTE, _HOUR, _DAY, _YEAR = 60.0, 3600.0, 86400.0, 31557600.0


def bumps(x: Tensor, lower: float, upper: float, count: int) -> Tensor:
    """Gaussian bumps of x at `count` centres from `lower` to `upper`, shape (*, count); all zero where x is NaN."""
    width = (upper - lower) / (count - 1)
    scale = math.sqrt(0.5) / width
    centre = torch.linspace(lower * scale, upper * scale, count, device=x.device)
    # Infinitely far from every centre, where it is NaN.
    away = torch.nan_to_num(x.clamp(lower, upper) * scale, nan=math.inf)[..., None] - centre
    return away.square_().neg_().exp_()


def delay_features(delay: Tensor, count: int = 12) -> Tensor:
    """Features of a duration in seconds (NaN: none), from a minute to a year, shape (*, count + 1)."""
    is_none = torch.isnan(delay)
    log_minutes = torch.log1p(delay.clamp_min(0) / _MINUTE)
    return torch.cat([bumps(log_minutes, 0.0, math.log1p(_YEAR / _MINUTE), count), is_none[..., None].float()], -1)


def time_features(gap: Tensor, time: Tensor, clock: Tensor, age: Tensor) -> Tensor:
    """Features of when an instant is, shape (*, NUM_TIME_FEATURES).

    Parameters
    ----------
    gap : seconds since the previous instant, NaN for none.
    time : seconds since the subject's origin.
    clock : seconds since midnight.
    age : years, NaN unknown.
    """
    day, hour = 2 * math.pi * clock / _DAY, 2 * math.pi * clock / _HOUR
    waves = [wave(harmonic * day) for harmonic in (1, 2, 3, 6) for wave in (torch.sin, torch.cos)]
    waves += [torch.sin(hour), torch.cos(hour)]
    return torch.cat(
        [
            delay_features(gap),
            bumps(torch.log1p(time.float().clamp_min(0) / _HOUR), 0.0, math.log1p(20 * _YEAR / _HOUR), 16),
            torch.stack(waves, -1),
            bumps(age, 0.0, 100.0, 8),
            torch.isnan(age)[..., None].float(),
        ],
        dim=-1,
    )


NUM_TIME_FEATURES = 13 + 16 + 10 + 9
