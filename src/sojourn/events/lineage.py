"""Which data a data set was made from: its shards are written anew, but its subjects are the same."""

from pathlib import Path

from sojourn.events import meds
from sojourn.files import read_json, sha256, write_json

__all__ = ["LINEAGE", "read_lineage", "write_lineage"]

LINEAGE = "metadata/lineage.json"
"""File of a MEDS data set that was made from another one."""


def read_lineage(dataset: Path) -> list[str]:
    """SHA-256 of every shard that a data set was made from, in order; none where it was made from no other."""
    path = dataset / LINEAGE
    shards: list[str] = read_json(path)["made_from"] if path.exists() else []
    return shards


def write_lineage(dataset: Path, out: Path) -> None:
    """Write into `out` that it was made from `dataset`, and from all that `dataset` was made from."""
    shards = {sha256(path) for path in meds.shard_paths(dataset)}
    write_json(out / LINEAGE, {"made_from": sorted(shards.union(read_lineage(dataset)))})
