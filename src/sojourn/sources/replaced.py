"""A stream of UTF-8 whose wrong bytes are replaced, since one of them must not stop a table.

The standard library's `codecs.EncodedFile` gives more bytes than it is asked for where it replaces some, which a reader
of a buffer's size does not expect.
"""

import codecs
import io
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class ReplacedBytes(io.RawIOBase):
    """What a binary stream holds, with replacement characters for bytes that are no UTF-8.

    Examples
    --------
    >>> ReplacedBytes(io.BytesIO(b"caf\\xe9,1")).read().decode()
    'caf\N{REPLACEMENT CHARACTER},1'
    """

    def __init__(self, stream: _Stream) -> None:
        super().__init__()
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._waiting = memoryview(b"")
        self._is_over = False

    def readable(self) -> bool:
        """It is only read."""
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Fill a buffer as far as there is something."""
        target = memoryview(buffer)
        while not self._waiting and not self._is_over:
            data = self._stream.read(len(target))
            self._is_over = not data
            is_plain = data.isascii() and not self._decoder.getstate()[0]  # by far the most: passed on as it is
            self._waiting = memoryview(data if is_plain else self._decoder.decode(data, self._is_over).encode())
        count = min(len(target), len(self._waiting))
        target[:count] = self._waiting[:count]
        self._waiting = self._waiting[count:]
        return count
