"""Our bytes inside a message of Flower's."""

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict

from sojourn.errors import JobRefusedError

_RECORD, _ARRAY = "sojourn", "envelope"


def to_record(envelope: bytes) -> RecordDict:
    """Bytes as an array, which Flower sends in pieces, so that a cut connection costs a piece and not the whole."""
    return RecordDict({_RECORD: ArrayRecord({_ARRAY: Array(np.frombuffer(envelope, np.uint8))})})


def from_record(content: RecordDict) -> bytes:
    """What `to_record` packed.

    Raises
    ------
    JobRefusedError
        If there is something else in it (``malformed``).
    """
    try:
        return content.array_records[_RECORD][_ARRAY].numpy().tobytes()
    except (KeyError, TypeError, ValueError) as error:
        msg = "message of Flower must hold an envelope of Sojourn; it does not. Use the same release on both sides."
        raise JobRefusedError("malformed", msg) from error
