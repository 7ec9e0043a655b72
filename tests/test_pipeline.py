"""What the pipeline puts together fits together."""

from datetime import datetime

import numpy as np
import polars as pl

from sojourn.tasks.outcomes import codes_read, derive_outcomes, outcomes

OTHERS = ("CONCEPT//heart_rate", "LAB//1//u", "CONCEPT//lactate_ish", "TRANSFER//ward")


def test_events_that_no_outcome_reads_change_none() -> None:
    generator = np.random.default_rng(0)
    roots = sorted({root for outcome in outcomes().values() for root in (outcome.code, *outcome.roots())})
    codes = [*roots, *(f"{root}//below" for root in roots), *OTHERS]
    size = 4000
    events = pl.DataFrame(
        {
            "subject_id": generator.integers(0, 20, size),
            "code": pl.Series(codes).gather(generator.integers(0, len(codes), size)),
            "numeric_value": generator.choice([0.0, 0.8, 5.0, 39.0, 45.0, 65.0], size).astype(np.float32),
        }
    ).with_columns(
        time=pl.lit(datetime(2150, 1, 1)) + pl.duration(minutes=pl.Series(generator.integers(0, 10**5, size)))
    )
    read = codes_read(codes)
    assert not set(read) & set(OTHERS)
    found = derive_outcomes(events)
    assert found["code"].n_unique() > 10
    assert derive_outcomes(events.filter(pl.col("code").is_in(read))).equals(found)
