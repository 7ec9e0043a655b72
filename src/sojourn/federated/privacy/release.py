"""What of rare codes leaves a site that trains without noise: nothing that tells which of them a patient has."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sojourn.federated.messages import Tensors
from sojourn.training.records import Ints, RecordReader

_CHUNK = 256
CODE_TABLES = ("events.code.weight", "events.gate.weight", "code_head.recency.own", "code_head.panel.own")
"""Weights with a row per code that moves where the code occurs or is asked; one has a row more, for END."""
OUTPUT_TABLES = ("code_head.bias", "code_head.site_bias.weight")
"""Weights with a row per code that moves at every decision: up where the code comes, down where it does not.

They leave whole. The rows of rare codes move down alone, as the history does not show these (`read_without_rare`); what
one hospital alone records would otherwise be taken for what is recorded everywhere."""


def codes_told(reader: RecordReader, rows: Ints, *, min_cell: int) -> npt.NDArray[np.bool_]:
    """Which codes at least `min_cell` of some patients have, shape (V,): outcomes and static facts too."""
    patients = np.zeros(reader.num_codes, dtype=np.int64)
    for begin in range(0, len(rows), _CHUNK):
        records = reader.read(rows[begin : begin + _CHUNK])
        tables = (records.all_events, records.static)
        pairs = np.concatenate([table.subject * reader.num_codes + table.code for table in tables])
        patients += np.bincount(np.unique(pairs) % reader.num_codes, minlength=reader.num_codes)
    is_told: npt.NDArray[np.bool_] = patients >= min_cell
    return is_told


class WithoutRare(NamedTuple):
    """How the codes of a site are read that few of its patients have."""

    read_as: Ints
    """(V,) for `RecordReader`: themselves, the `//unknown` of their parent, or -1 where few have even that."""
    is_told: npt.NDArray[np.bool_]
    """(V,) codes whose rows may leave: those that enough patients have, by themselves or for others."""


def read_without_rare(reader: RecordReader, rows: Ints, *, min_cell: int, unknown_share: float) -> WithoutRare:
    """How the records of some patients are read so that codes of fewer than `min_cell` of them do not appear.

    They are not asked about either, as if nobody had them. Static facts and derived outcomes stay as they are: no code
    head predicts them, and their rows are withheld.
    Where codes are forgotten in training (`unknown_share`), an `//unknown` stands for all codes below it, and its row
    moves by their patients: it is told where any of them is.
    """
    table = reader.vocabulary.table
    is_fixed = (table["target_only"] | table["is_static"]).to_numpy()
    is_told = codes_told(reader, rows, min_cell=min_cell)
    unknown = table["unknown"].to_numpy().astype(np.int64)
    read_as = np.where(is_told | is_fixed, np.arange(len(table)), unknown)
    folded = RecordReader(reader.store, reader.vocabulary, [], read_as)
    is_told = codes_told(folded, rows, min_cell=min_cell)
    read_as[~is_told[read_as] & ~is_fixed] = -1
    if unknown_share > 0:
        is_told[unknown[is_told]] = True
    return WithoutRare(read_as, is_told)


def hide_few(
    events: npt.NDArray[np.float64],
    exposure: npt.NDArray[np.float64],
    is_told: npt.NDArray[np.bool_],
    *,
    min_cell: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Occurrences and exposure from which no count of few can be had.

    Hours of exposure end with the event, so they tell of events too: every code gets those of a code that nobody had,
    and as many occurrences as keep its rate. Bins are joined with the next ones until `min_cell` moments with an event
    lie in them, and have one rate; codes that are not told have none.

    Parameters
    ----------
    events, exposure : (V, J) as `count_hazards` gives them.
    is_told : (V,) codes that enough patients have.

    Examples
    --------
    >>> events, hours = np.array([[6.0, 1.0, 2.0], [1.0, 0.0, 0.0]]), np.array([[10.0, 8.0, 7.0], [12.0, 12.0, 12.0]])
    >>> told, followed = hide_few(events, hours, np.array([True, False]), min_cell=3)
    >>> (told[0] / followed[0]).round(6).tolist(), told[1].tolist(), followed[1].tolist()
    ([0.6, 0.2, 0.2], [0.0, 0.0, 0.0], [12.0, 12.0, 12.0])
    """
    followed = exposure.max(0)
    told = np.zeros_like(events)
    for code in np.flatnonzero(is_told):
        group = _joined(events[code], min_cell)
        many, hours = (np.bincount(group, weights=x)[group] for x in (events[code], exposure[code]))
        # What is left of the last group may be too few even so.
        rate = np.where(many >= min_cell, many / np.maximum(hours, 1e-9), 0.0)
        told[code] = rate * followed
    return told, np.broadcast_to(followed, events.shape).copy()


def _joined(events: npt.NDArray[np.float64], min_cell: int) -> npt.NDArray[np.int64]:
    """Group of each bin, in order: one ends where it holds `min_cell`; what is left at the end joins the last."""
    group, number, so_far = np.zeros(len(events), np.int64), 0, 0.0
    for place, count in enumerate(events):
        group[place] = number
        so_far += count
        if so_far >= min_cell:
            number, so_far = number + 1, 0.0
    if so_far < min_cell and number:
        group[group == number] = number - 1
    return group


def withhold_rare(delta: Tensors, is_told: npt.NDArray[np.bool_]) -> Tensors:
    """Set the changes of the rows of rare codes to zero in the tables of codes, except at the output.

    A row of a code's embedding moves only where the code occurs or is asked: that of a code that one patient has would
    tell of that patient.

    Parameters
    ----------
    delta : changes of weights, or other sums of gradients, by the names of the weights.
    is_told : (V,) rows that may leave; that of END may.

    Examples
    --------
    >>> change = {"code_head.panel.own": np.ones(4), "start": np.ones(3)}
    >>> kept = withhold_rare(change, np.array([True, False, True]))
    >>> kept["code_head.panel.own"].tolist(), kept["start"].tolist()
    ([1.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0])
    """
    with_end = np.append(is_told, True)

    def kept(table: npt.NDArray[Any]) -> npt.NDArray[Any]:
        out = table.copy()
        out[~with_end[: len(table)]] = 0
        return out

    return {name: kept(tensor) if name in CODE_TABLES else tensor for name, tensor in delta.items()}
