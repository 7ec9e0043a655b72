"""Wrong bytes become replacement characters, however the stream is cut."""

import io

from hypothesis import given
from hypothesis import strategies as st

from sojourn.sources.replaced import ReplacedBytes


@given(st.lists(st.one_of(st.binary(max_size=6), st.text(max_size=6).map(str.encode))), st.integers(1, 9))
def test_it_is_what_python_replaces(parts: list[bytes], size: int) -> None:
    content = b"".join(parts)
    stream = ReplacedBytes(io.BytesIO(content))
    read = b""
    while piece := stream.read(size):
        assert len(piece) <= size
        read += piece
    assert read == content.decode("utf-8", "replace").encode()
    assert stream.read(size) == b""
