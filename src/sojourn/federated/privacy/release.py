"""The last look at an update before it leaves a site that trains without noise."""

import numpy as np
import numpy.typing as npt

from sojourn.federated.messages import Tensors
from sojourn.training.records import Ints, RecordReader

_CHUNK = 256


def codes_told(reader: RecordReader, rows: Ints, *, min_cell: int) -> npt.NDArray[np.bool_]:
    """Which codes at least `min_cell` of some patients have, shape (V,): outcomes and static facts too.

    An `//unknown` stands for all codes below its level: it is told where any of them is.
    """
    patients = np.zeros(reader.num_codes, dtype=np.int64)
    for begin in range(0, len(rows), _CHUNK):
        records = reader.read(rows[begin : begin + _CHUNK])
        tables = (records.all_events, records.static)
        pairs = np.concatenate([table.subject * reader.num_codes + table.code for table in tables])
        patients += np.bincount(np.unique(pairs) % reader.num_codes, minlength=reader.num_codes)
    is_told = patients >= min_cell
    is_told[reader.vocabulary.table["unknown"].to_numpy()[is_told]] = True
    return is_told


def withhold_rare(delta: Tensors, is_told: npt.NDArray[np.bool_]) -> Tensors:
    """Set the changes of all rows of rare codes to zero.

    A row of a code's embedding moves only where the code occurs (and, at the output, where it could have): the row of a
    code that one patient has would tell of that patient.

    Parameters
    ----------
    delta : changes of the weights. Those with a row per code, with or without one more for END, are changed.
    is_told : (V,) codes that enough patients have.

    Examples
    --------
    >>> change = {"bias": np.ones(4), "other": np.ones(2)}
    >>> kept = withhold_rare(change, np.array([True, False, True]))
    >>> kept["bias"].tolist(), kept["other"].tolist()
    ([1.0, 0.0, 1.0, 1.0], [1.0, 1.0])
    """
    count = len(is_told)
    keep = {count: is_told, count + 1: np.append(is_told, True)}
    return {
        name: tensor * keep[len(tensor)].reshape(-1, *[1] * (tensor.ndim - 1)).astype(tensor.dtype)
        if tensor.ndim and len(tensor) in keep
        else tensor
        for name, tensor in delta.items()
    }
