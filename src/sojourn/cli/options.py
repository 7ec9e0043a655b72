"""Options that several commands share, and the reading of their values."""

import re
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON instead of a table.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes.")]
Seed = Annotated[int, typer.Option(help="Seed of all random draws.")]


def parse_hours(text: str) -> float:
    """Hours of a duration such as ``48h``, ``90min`` or ``3d``.

    Examples
    --------
    >>> parse_hours("90min"), parse_hours("2d")
    (1.5, 48.0)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(min|h|d)\s*", text)
    if not found or float(found[1]) <= 0:
        raise typer.BadParameter(f"must be a positive number with min, h or d, such as 48h; got {text!r}")
    return float(found[1]) * {"min": 1 / 60, "h": 1.0, "d": 24.0}[found[2]]


def one_of(option: str, value: str | None, known: tuple[str | None, ...]) -> None:
    """Refuse an option's value that is none of the known ones, as a wrong command line."""
    if value not in known:
        raise typer.BadParameter(f"must be {' or '.join(k for k in known if k)}; got {value!r}", param_hint=option)
