"""Builders of stays for the tests of grids."""

import polars as pl

from helpers.task_records import Row


def icu_stay(subject: int, start: float, end: float) -> list[Row]:
    """Admission to and discharge from one stay in intensive care."""
    return [(subject, start, "ICU_ADMISSION//MICU"), (subject, end, "ICU_DISCHARGE//ALIVE")]


def measured(subject: int, concept: str, *points: tuple[float, float]) -> list[Row]:
    """Values of a concept at hours."""
    return [(subject, hour, f"CONCEPT//{concept}", value) for hour, value in points]


def column(grid: pl.DataFrame, name: str) -> list[float | None]:
    """The values of a column, rounded against the noise of 32 bits."""
    return [None if value is None else round(value, 4) for value in grid[name].to_list()]
