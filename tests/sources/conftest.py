"""Small raw folders of the two challenges, and a reader of what an ingestion made."""

import random
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from helpers.psv_lines import HEADER_2019, line_2019


@pytest.fixture
def psv_folder(tmp_path: Path) -> Path:
    """Forty stays with 5 to 30 hours, made from a seed."""
    draw = random.Random(7)
    for number in range(1, 41):
        folder = tmp_path / "raw" / ("training_setA" if number <= 30 else "training_setB")
        folder.mkdir(parents=True, exist_ok=True)
        identity = number if number <= 30 else 100_000 + number
        fixed = {"Age": draw.uniform(20, 90), "Gender": draw.randint(0, 1), "HospAdmTime": -draw.uniform(0, 50)}
        lines = [HEADER_2019]
        for hour in range(1, draw.randint(6, 31)):
            cells = {"HR": round(draw.gauss(80, 9)), "Temp": round(draw.gauss(37, 0.5), 1)}
            kept = {name: value for name, value in cells.items() if draw.random() < 0.6}
            lines.append(line_2019(**fixed, **kept, ICULOS=hour, SepsisLabel=int(hour > 24)))
        (folder / f"p{identity:06d}.psv").write_text("\n".join(lines) + "\n")
    return tmp_path / "raw"


@pytest.fixture
def read_events() -> Callable[[Path], pl.DataFrame]:
    """Read all events of a data set, shard after shard."""

    def read(dataset: Path) -> pl.DataFrame:
        paths = sorted((dataset / "data").glob("*.parquet"), key=lambda path: int(path.stem))
        return pl.concat([pl.read_parquet(path) for path in paths])

    return read
