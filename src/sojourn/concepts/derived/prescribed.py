"""When drugs were running that are known by the starts and stops of their orders."""

import numpy as np
import polars as pl

from sojourn.concepts.derived.axis import Ints, distinct
from sojourn.concepts.derived.record import Record

ORDER = "order"
"""Level below a drug's ``//start`` and ``//end`` where an order says for how long the drug is given."""
ENDS = ("HOSPITAL_DISCHARGE",)
"""Orders do not outlast the hospital stay."""


def running(record: Record, start: str, stop: str, *, unstopped: int) -> tuple[Ints, Ints]:
    """When at least one order of a group of drugs ran.

    Parameters
    ----------
    record : Record
        With the codes ``<start>//order``, ``<stop>//order`` and `ENDS`.
    start, stop : str
        Codes of the drugs' starts and stops, such as ``CONCEPT//antibiotic//start``.
    unstopped : int
        Seconds that an order without a stop runs at least after its start.

    Returns
    -------
    begin, end : array of int64, shape [spans]
        Places, in order; the spans of a subject do not overlap, but for the tail of unstopped orders.

    Notes
    -----
    Which stop belongs to which order is not told, but how many are open is: the starts so far less the stops so far,
    and never below none, since an order may have begun before the record.
    """
    starts, stops = record.rows(f"{start}//{ORDER}").place, record.rows(f"{stop}//{ORDER}").place
    place = np.concatenate([starts, stops])
    if not len(starts):
        return starts, starts
    change = np.repeat([1, -1], [len(starts), len(stops)])
    order = np.lexsort((-change, place))  # an order that follows at the same time goes on
    place, change = place[order], change[order]
    stay = np.searchsorted(distinct(record.rows(*ENDS).place), place) + record.axis.subjects(place)
    so_far = pl.DataFrame({"stay": stay, "change": change}).select(
        "stay", level=pl.col("change").cum_sum().over("stay")
    )
    number = so_far.select(pl.col("level") - pl.col("level").cum_min().over("stay").clip(upper_bound=0)).to_series()
    is_open = number.to_numpy() > 0
    same_stay = np.append(False, stay[1:] == stay[:-1])
    first = np.flatnonzero(is_open & ~(np.append(False, is_open[:-1]) & same_stay))
    # A span ends with the row that closes its last order, or with the last row of the stay.
    closes = np.flatnonzero(~is_open | np.append(~same_stay[1:], True))
    last = closes[np.searchsorted(closes, first)]
    latest = np.maximum.accumulate(np.where(change > 0, place, place[0]))[last]
    return place[first], np.where(is_open[last], np.maximum(latest + unstopped, place[last]), place[last])
