"""The simulator as a source: charted rows chunk by chunk, and the truth beside them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from sojourn.errors import ConfigError
from sojourn.files import read_json
from sojourn.sources.records import EVENT_SCHEMA, QUARANTINE_SCHEMA, SourceBatch
from sojourn.sources.simulator.codes import describe
from sojourn.sources.simulator.config import SimulatorConfig, SiteConfig
from sojourn.sources.simulator.network import load_config
from sojourn.sources.simulator.trajectories import num_chunks, simulate_chunk
from sojourn.sources.simulator.truth import write_truth
from sojourn.sources.simulator.writing import chart_chunk

TABLE = "simulator"
_BATCH_ROWS = 400_000


class Simulator:
    """Source `simulator`: `raw` is a YAML file of `SimulatorConfig`, or a folder with `simulator.yaml`.

    One raw row is one charted record. `finish` writes ``truth/`` for the configuration that was read last.
    """

    name = "simulator"

    def __init__(self) -> None:
        self._raw: Path | None = None

    def read(self, raw: Path, *, site: str | None = None, warn: Callable[[str], None]) -> Iterator[SourceBatch]:
        """Yield the charted records; `site` keeps one hospital of the configuration.

        Raises
        ------
        ConfigError
            If the configuration has no site of that name, or is not valid.
        """
        self._raw = raw
        config = load_config(raw)
        row = 0
        for hospital in _chosen(config, site):
            for chunk in range(num_chunks(config, hospital)):
                events = chart_chunk(config, hospital, chunk, simulate_chunk(config, hospital, chunk))
                events = events.with_row_index("row", row).cast({"row": pl.UInt64})
                row += events.height
                for start in range(0, events.height, _BATCH_ROWS):
                    yield _batch(events.slice(start, _BATCH_ROWS))

    def codes(self, raw: Path) -> pl.DataFrame:
        """Local codes of all hospitals with their concepts and units."""
        self._raw = raw
        return describe(load_config(raw).sites)

    def finish(self, out: Path) -> None:
        """Write ``truth/states.parquet`` and ``truth/risks.parquet`` into `out`, as `TruthConfig` says,
        for hospitals that are in the data set `out`."""
        assert self._raw is not None, "finish follows read or codes"
        config = load_config(self._raw)
        # which hospitals were read is in the data set, also when an earlier, interrupted call read them
        read = read_json(out / "metadata" / "ingest.json")["sites"]
        sites = [site for site in config.sites if site.name in read]
        named = config.truth.sites
        chosen = sites[-1:] if named is None else [site for site in sites if site.name in named]
        if chosen:
            write_truth(config, chosen, out / "truth")


def _chosen(config: SimulatorConfig, site: str | None) -> tuple[SiteConfig, ...]:
    chosen = tuple(one for one in config.sites if site in (None, one.name))
    if not chosen:
        msg = f"site must be one of {', '.join(one.name for one in config.sites)}; got {site!r}."
        raise ConfigError(msg)
    return chosen


def _batch(events: pl.DataFrame) -> SourceBatch:
    """Set apart the rows that nobody gave a time."""
    lost = events["time_missing"]
    bad = events.filter(lost)
    record = pl.struct("subject_id", "code", "numeric_value", "site").struct.json_encode()
    quarantined = bad.select("row", reason=pl.lit("no_time"), record=record) if bad.height else None
    return SourceBatch(
        TABLE,
        events.height,
        events.filter(~lost).select(*EVENT_SCHEMA),
        pl.DataFrame(schema=QUARANTINE_SCHEMA) if quarantined is None else quarantined,
    )


SOURCE = Simulator()
"""The source object of this module."""

__all__ = ["SOURCE", "Simulator"]
