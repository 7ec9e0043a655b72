"""The C library's allocator, told to keep what is freed while a network is trained.

Every step of a training frees and allocates the same some hundred megabytes. The GNU C library gives large pieces back
to the system and fetches new ones, which have to be cleared, each time: a fifth of a step of a small network.
"""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Parameters of mallopt(3), as malloc.h numbers them."""
_TRAINING = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 2**26}
_USUAL = {_MMAP_MAX: 65_536, _TRIM_THRESHOLD: 2**17, _TOP_PAD: 2**17}


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep freed memory in this process while the block runs; elsewhere than on GNU/Linux nothing is changed."""
    library = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
    try:
        _set(library, _TRAINING)
        yield
    finally:
        _set(library, _USUAL)
        if library is not None:
            library.malloc_trim(0)


def _set(library: ctypes.CDLL | None, values: dict[int, int]) -> None:
    if library is not None:
        for name, value in values.items():
            library.mallopt(name, value)
