"""Which split a subject belongs to: a hash of its id, so that adding subjects never moves one."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SPLITS = ("train", "tuning", "held_out")

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def splitmix64(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Scramble 64-bit integers with the finaliser of SplitMix64.

    Parameters
    ----------
    x : array of uint64, any shape

    Returns
    -------
    array of uint64, same shape
        A bijection of the input whose bits are close to independent.

    References
    ----------
    Steele, Lea, Flood: Fast splittable pseudorandom number generators. OOPSLA 2014.

    Examples
    --------
    >>> [hex(v) for v in splitmix64(np.array([0, 1], dtype=np.uint64)).tolist()]
    ['0xe220a8397b1dcdaf', '0x910a2dec89025cc1']
    """
    x = x + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def assign_splits(
    subject_ids: npt.NDArray[np.int64], *, seed: int = 0, fractions: Sequence[float] = (0.8, 0.1, 0.1)
) -> npt.NDArray[np.str_]:
    """Assign each subject to train, tuning or held_out by a hash of its id alone.

    Parameters
    ----------
    subject_ids : array of int64, shape [N]
    seed : int
        Another seed gives another, unrelated partition.
    fractions : three non-negative numbers that sum to 1
        Expected shares of train, tuning and held_out.

    Returns
    -------
    array of str, shape [N]
        The answer for one id does not depend on the other ids.

    Raises
    ------
    ValueError
        If `fractions` are not three shares of one.

    Examples
    --------
    >>> assign_splits(np.array([1, 2, 3, 10001217])).tolist()
    ['train', 'tuning', 'train', 'held_out']
    """
    shares = np.asarray(fractions, dtype=np.float64)
    if shares.shape != (3,) or (shares < 0).any() or not np.isclose(shares.sum(), 1.0):
        msg = f"fractions must be three non-negative shares that sum to 1; got {tuple(fractions)}."
        raise ValueError(msg)
    salt = splitmix64(np.array([seed], dtype=np.int64).view(np.uint64))
    hashed = splitmix64(np.ascontiguousarray(subject_ids, dtype=np.int64).view(np.uint64) ^ salt)
    uniform = (hashed >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.array(SPLITS)[np.searchsorted(np.cumsum(shares)[:2], uniform, side="right")]
