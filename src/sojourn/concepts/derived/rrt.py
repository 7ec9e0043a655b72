"""Episodes of renal replacement therapy."""

import polars as pl

from sojourn.concepts.derived.record import gather, read_record
from sojourn.concepts.derived.treatments import EpisodeSettings, episode_events

CODE = "DERIVED//rrt"

RRT = EpisodeSettings(treatments=("CONCEPT//rrt",), open_hours=72, merge_hours=24)
"""A filter that clots or a trip to imaging does not end continuous therapy; sessions of intermittent dialysis on
different days are different episodes. A start without an end counts for three days."""


def rrt(events: pl.DataFrame, settings: EpisodeSettings = RRT) -> pl.DataFrame:
    """Starts and ends of episodes of renal replacement therapy; times and values are those of `ventilation`.

    Examples
    --------
    >>> from datetime import datetime
    >>> events = pl.DataFrame({"subject_id": [1], "time": [datetime(2020, 1, 1)], "code": ["CONCEPT//rrt//start"],
    ...                        "numeric_value": [None]})
    >>> rrt(events)["code"].to_list()
    ['DERIVED//rrt//start']
    """
    return gather(episode_events(read_record(events, settings.roots()), settings, CODE))
