"""Episodes of mechanical ventilation."""

import polars as pl

from sojourn.concepts.derived.record import gather, read_record
from sojourn.concepts.derived.treatments import EpisodeSettings, episode_events

CODE = "DERIVED//ventilation"

INVASIVE = EpisodeSettings(
    treatments=("CONCEPT//ventilation",),
    evidence=("CONCEPT//tidal_volume_set", "CONCEPT//resp_rate_set"),
    open_hours=72,
    merge_hours=6,
)
"""A pause of up to 6 h (a failed extubation, a gap between two charted procedures) is inside an episode; a start
without a further sign counts for three days."""
NONINVASIVE = EpisodeSettings(treatments=("CONCEPT//noninvasive_ventilation",), open_hours=12, merge_hours=6)


def ventilation(events: pl.DataFrame, settings: EpisodeSettings = INVASIVE) -> pl.DataFrame:
    """Starts and ends of episodes of invasive ventilation.

    Parameters
    ----------
    events : subject_id i64, time, code (after the mapping to concepts), numeric_value; whole subjects, in any order.

    Returns
    -------
    polars.DataFrame
        The same columns. `DERIVED//ventilation//start` at the first sign of an episode. `DERIVED//ventilation//end`
        once `merge_hours` have gone by without ventilation, or at discharge from the unit or death; its value is the
        length of the episode in hours, without the waiting.

    Examples
    --------
    >>> from datetime import datetime
    >>> day = lambda hour: datetime(2020, 1, 1, hour)
    >>> codes = ["CONCEPT//ventilation//start", "CONCEPT//ventilation//end", "CONCEPT//heart_rate"]
    >>> events = pl.DataFrame({"subject_id": 1, "time": [day(2), day(5), day(20)], "code": codes,
    ...                        "numeric_value": [None, None, 80.0]})
    >>> ventilation(events).select(pl.col("time").dt.hour(), "code", "numeric_value").rows()
    [(2, 'DERIVED//ventilation//start', None), (11, 'DERIVED//ventilation//end', 3.0)]
    """
    return gather(episode_events(read_record(events, settings.roots()), settings, CODE))
