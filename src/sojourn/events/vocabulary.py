"""The vocabulary that a model is trained with, and how another store's codes map to it."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from sojourn.errors import ConfigError, SchemaError
from sojourn.events import codes as grammar
from sojourn.events.codes import UNKNOWN, ancestors
from sojourn.events.fold import limit_codes, unknown_entries, unknown_of
from sojourn.events.sketch import ValueSketch, convert, merge_sketches, sketch_values, summarise
from sojourn.events.store import EventStore
from sojourn.files import atomic_file

SCHEMA: dict[str, pl.DataType] = {
    "index": pl.UInt32(),
    "code": pl.String(),
    "description": pl.String(),
    "unit": pl.String(),
    "concept": pl.String(),
    "target_only": pl.Boolean(),
    "terminal": pl.Boolean(),
    "is_static": pl.Boolean(),
    "count": pl.Int64(),
    "num_values": pl.Int64(),
    "loc": pl.Float64(),
    "scale": pl.Float64(),
    "resolution": pl.Float64(),
    "has_value": pl.Boolean(),
    "parent": pl.UInt32(),
    "unknown": pl.UInt32(),
}
_FOLDED = "sojourn_folded"
_IQR_OF_NORMAL = 1.3489795003921634
_MERGED_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Translation:
    """How the codes of a store map to a model's."""

    index: npt.NDArray[np.int64]
    """[number of store codes] model index of each."""
    unknown: pl.DataFrame
    """code, count, entry: store codes that some `//unknown` entry stands for, most frequent first."""


class ModelVocabulary:
    """The codes that a model knows.

    Index 0 is `//unknown`; then come static, timed and target-only codes, the family (first level) with the fewest
    training events first, each by name: this is the canonical order of the events inside an instant. Few codes are
    left to choose from after one of a large family, and related codes follow each other. Every level above a code has
    an entry `<level>//unknown` for codes that were never seen in training.

    Attributes
    ----------
    table : pl.DataFrame
        index u32, code, description, unit, concept, target_only, terminal, is_static, count (training events that it
        stands for), num_values, loc (median), scale (> 0: interquartile range / 1.349, else the standard deviation,
        else 1), resolution (recorded tick, 0: none), has_value, parent (index of the nearest level above that is an
        entry; null: none), unknown (index of the `//unknown` that stands for its unseen siblings). Location, scale
        and resolution of an `//unknown` entry are those of all values below its level.
    folded : dict
        Rare training codes and the entry that stands for each.
    """

    def __init__(self, table: pl.DataFrame, folded: dict[str, str]) -> None:
        self.table, self.folded = table, folded
        self.index = {code: k for k, code in enumerate(table["code"])}

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def fit(
        cls,
        store: EventStore,
        rows: npt.NDArray[np.int64],
        *,
        min_count: int = 20,
        max_codes: int | None = None,
    ) -> "ModelVocabulary":
        """Choose the codes and their value scales from the training subjects alone.

        Parameters
        ----------
        store : EventStore
        rows : array of int64
            Training subjects.
        min_count : int
            A code with fewer events falls back to its parent; target-only codes never do.
        max_codes : int, optional
            Raise `min_count` until there are at most this many entries besides the `//unknown` ones.

        Raises
        ------
        ConfigError
            If there are no rows, or a limit is below 1.
        """
        if len(rows) == 0 or min_count < 1 or (max_codes is not None and max_codes < 1):
            msg = f"fit needs rows and limits of at least 1; got {len(rows)} rows, {min_count=}, {max_codes=}."
            raise ConfigError(msg)
        counts, sketch = survey_codes(store, rows)
        return cls.from_survey(store.vocabulary, counts, sketch, min_count=min_count, max_codes=max_codes)

    @classmethod
    def from_survey(
        cls,
        known: pl.DataFrame,
        counts: npt.NDArray[np.int64],
        sketch: ValueSketch,
        *,
        min_count: int,
        max_codes: int | None = None,
    ) -> "ModelVocabulary":
        """Choose codes and value scales from what `survey_codes` counted, in one store or merged from several.

        Parameters
        ----------
        known : code, description, unit, concept, target_only and is_static of every code.
        counts : array of int64, shape [number of codes]
            Events of each.
        sketch : values by row of `known`.
        min_count, max_codes : as in `fit`.
        """
        codes = known["code"].to_list()
        targets = set(known.filter("target_only")["code"])
        kept, folded = limit_codes(
            dict(zip(codes, counts.tolist(), strict=True)),
            min_count=min_count,
            max_codes=max_codes,
            protected=targets,
        )
        names = set(kept) | unknown_entries(kept)
        table = _describe(known, names, kept, folded)
        draft = cls(table, folded)
        values = draft._values(codes, sketch)
        return cls(table.join(values, on="index", how="left", maintain_order="left").select(_finished()), folded)

    def translate(self, store: EventStore) -> Translation:
        """Map a store's codes: known ones to themselves, rare ones to their fallback, others to `//unknown`."""
        codes, counts = store.vocabulary["code"].to_list(), store.vocabulary["count"].to_list()
        entries = [self._entry(code) for code in codes]
        index = np.array([self.index[entry] for entry in entries], dtype=np.int64)
        lost = [
            (code, count, entry)
            for code, count, entry in zip(codes, counts, entries, strict=True)
            if entry.endswith(UNKNOWN) and entry != code
        ]
        schema = {"code": pl.String, "count": pl.Int64, "entry": pl.String}
        unknown = pl.DataFrame(lost, schema=schema, orient="row")
        return Translation(index, unknown.sort("count", "code", descending=[True, False]))

    def save(self, path: Path) -> None:
        """Write the table, with the folded codes in the file's metadata."""
        with atomic_file(path) as part:
            folded = json.dumps(self.folded, sort_keys=True)
            self.table.write_parquet(part, metadata={_FOLDED: folded})

    @classmethod
    def load(cls, path: Path) -> "ModelVocabulary":
        """Read what `save` wrote.

        Raises
        ------
        SchemaError
            If the file is something else.
        """
        try:
            table, metadata = pl.read_parquet(path, glob=False), pl.read_parquet_metadata(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            msg = f"{path} must be a model vocabulary; reading it gave {type(error).__name__}."
            raise SchemaError(msg) from error
        if table.schema != SCHEMA or _FOLDED not in metadata:
            msg = f"{path} must be a model vocabulary; got columns {table.columns}."
            raise SchemaError(msg)
        return cls(table, json.loads(metadata[_FOLDED]))

    def _entry(self, code: str) -> str:
        """The entry that stands for a code."""
        if code in self.index:
            return code
        return self.folded.get(code) or unknown_of(code, self.index)

    def _values(self, codes: list[str], sketch: ValueSketch) -> pl.DataFrame:
        """Location, scale and resolution by entry; `//unknown` entries pool all codes below their level."""
        groups, places = [], []
        for group, code in enumerate(codes):
            own = self._entry(code)
            pools = {above + UNKNOWN for above in ancestors(code)} | {UNKNOWN, own}
            mine = sorted(self.index[name] for name in pools if name in self.index)
            groups += [group] * len(mine)
            places += mine
        pairs = pl.DataFrame(
            {"group": groups, "pair": range(len(groups))}, schema={"group": pl.UInt32, "pair": pl.UInt32}
        )
        spread = ValueSketch(
            *(table.join(pairs, on="group").drop("group").rename({"pair": "group"}) for table in sketch)
        )
        ones, to = np.ones(len(groups)), np.array(places, dtype=np.uint32)
        found = summarise(convert(spread, to, ones, 0 * ones))
        return found.rename({"group": "index"})


def survey_codes(store: EventStore, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], ValueSketch]:
    """Events by store code of some subjects, and a sketch of their values."""
    counts = np.zeros(len(store.vocabulary), np.int64)
    waiting: list[ValueSketch] = []
    for block in store.blocks(np.sort(rows)):
        codes = np.concatenate([block.code, block.static_code]).astype(np.uint32)
        values = np.concatenate([block.value, block.static_value])
        counts += np.bincount(codes, minlength=len(counts))
        has_value = ~np.isnan(values)
        waiting.append(sketch_values(codes[has_value], values[has_value]))
        if len(waiting) > _MERGED_AT_ONCE:
            waiting = [merge_sketches(waiting)]
    return counts, merge_sketches(waiting)


def _describe(known: pl.DataFrame, names: set[str], kept: dict[str, int], folded: dict[str, str]) -> pl.DataFrame:
    """Entries in canonical order, without their values."""
    flags = {
        code: (target, static) for code, target, static in known.select("code", "target_only", "is_static").iter_rows()
    }
    of_level: dict[str, list[tuple[bool, bool]]] = {}
    for code in [*(c for c in kept if c in flags), *folded]:
        for above in ancestors(code):
            of_level.setdefault(above, []).append(flags[code])
    facts = []
    for name in names:
        level = name.removesuffix(UNKNOWN)
        mine = [flags[name]] if name in flags else of_level.get(level, [(False, False)])
        facts.append((name, all(target for target, _ in mine), all(static for _, static in mine), kept.get(name, 0)))
    schema = {"code": pl.String, "target_only": pl.Boolean, "is_static": pl.Boolean, "count": pl.Int64}
    table = pl.DataFrame(facts, schema=schema, orient="row")
    num_events = pl.col("count").sum().over(grammar.family_expr())
    table = table.sort(grammar.kind_expr(), num_events, "code").with_row_index("index")
    index = {code: k for k, code in enumerate(table["code"])}
    nearest = [next((index[a] for a in ancestors(code) if a in index), None) for code in table["code"]]
    unknown = [index[unknown_of(code, index)] for code in table["code"]]
    return table.join(
        known.select("code", "description", "unit", "concept"), on="code", how="left", maintain_order="left"
    ).with_columns(
        grammar.is_terminal_expr().alias("terminal"),
        parent=pl.Series(nearest, dtype=pl.UInt32),
        unknown=pl.Series(unknown, dtype=pl.UInt32),
    )


def _finished() -> list[pl.Expr]:
    """The columns of `SCHEMA` from descriptions and value statistics."""
    spread = (pl.col("q75") - pl.col("q25")) / _IQR_OF_NORMAL
    scale = pl.when(spread > 0).then(spread).when(pl.col("std") > 0).then("std").otherwise(1.0)
    columns = {
        "num_values": pl.col("n").fill_null(0),
        "loc": pl.col("q50").fill_null(0.0),
        "scale": scale,
        "resolution": pl.col("resolution").fill_null(0.0),
        "has_value": pl.col("n").is_not_null(),
    }
    return [columns.get(name, pl.col(name)).cast(dtype).alias(name) for name, dtype in SCHEMA.items()]
