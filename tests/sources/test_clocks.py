"""Clocks: what happens later is told later, also in the night when the clock is set back."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from sojourn.sources.clocks import from_zoned

NIGHTS = {
    "America/New_York": datetime(2020, 11, 1, 6),
    "Europe/Vienna": datetime(2020, 10, 25, 1),
    "Australia/Lord_Howe": datetime(2020, 4, 4, 15),
}
"""Zone -> the moment in UTC at which its clock is set back."""


@pytest.mark.parametrize("zone", NIGHTS)
def test_what_is_later_stays_later_when_the_clock_is_set_back(zone: str) -> None:
    moments = [NIGHTS[zone] + timedelta(minutes=minute) for minute in range(-180, 181)]
    times = pl.Series(moments, dtype=pl.Datetime("ms")).dt.replace_time_zone("UTC")
    told = pl.select(from_zoned(pl.lit(times), zone)).to_series()
    assert (told.diff().drop_nulls() > timedelta(0)).all()
    shown = [moment.replace(tzinfo=ZoneInfo("UTC")).astimezone(ZoneInfo(zone)) for moment in moments]
    differ = [abs(told[i] - time.replace(tzinfo=None)) for i, time in enumerate(shown)]
    assert max(differ) <= timedelta(minutes=30)
    is_far_off = [abs(moment - NIGHTS[zone]) > timedelta(hours=1) for moment in moments]
    assert not any(gap for gap, is_far in zip(differ, is_far_off, strict=True) if is_far)


def test_other_times_are_those_of_the_clock() -> None:
    times = pl.Series([datetime(2020, 7, 1, 16), datetime(2020, 3, 8, 7), None], dtype=pl.Datetime("us"))
    told = pl.select(from_zoned(pl.lit(times.dt.replace_time_zone("UTC")), "America/New_York")).to_series()
    assert told.to_list() == [datetime(2020, 7, 1, 12), datetime(2020, 3, 8, 3), None]
