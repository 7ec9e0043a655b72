"""Teach a run the codes that only another hospital uses: from their words and the scale of their values, no training.

Without it an unseen code stands as the `//unknown` of its parent: a wall of unknowns where a hospital names things its
own way. With it the code has an embedding, a gate and a bias, and the location, scale and resolution of its own values;
which of the hospital's outcomes came is never looked at. A network that reads words knows embedding and gate of any
code with words; what else there is, and for other networks everything, is taken from codes with like words
(`description`).
"""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import safetensors.torch
import torch
from torch import Tensor

from sojourn.adaptation.description import LEAST_LIKENESS, NUM_FEATURES, Floats, alike
from sojourn.adaptation.identity import run_identity, store_identity
from sojourn.adaptation.newrun import is_finished, lineage, read_log, unfinished_run, write_run
from sojourn.errors import ConfigError
from sojourn.events.codes import UNKNOWN, ancestors, family_expr, kind_expr
from sojourn.events.fold import unknown_of
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import SCHEMA, ModelVocabulary
from sojourn.model import Network
from sojourn.training.code_words import word_features
from sojourn.training.run import VOCABULARY, WEIGHTS, Run, code_table, taught

IDENTITY = ("events.code.weight", "events.gate.weight")
"""Tensors with one trained row per code; zero for an unseen one where the network reads words."""
TAKEN = (
    *IDENTITY,
    "code_head.bias",
    "code_head.site_bias.weight",
    "code_head.recency.own",
    "code_head.panel.own",
    "first_head.log_base",
)
"""All tensors whose rows an unseen code takes from others; those of the code head end with a row for END."""
WORDS = "events.words"


@dataclass(frozen=True, slots=True)
class ExtendReport:
    """What a run was taught."""

    path: str
    num_codes: int
    """Codes that were added."""
    num_events: int
    """Events with these codes of the subjects that were read."""
    described: int
    """Added codes with a description."""
    num_alike: int
    """Added codes that are called much like a trained one; the others are little else than their parent's `//unknown`,
    unless the network reads words."""
    was_finished: bool


def extend(
    run: Path, store: Path, new_run: Path, *, sites: Sequence[str] | None = None, min_count: int = 20
) -> ExtendReport:
    """Add the codes of a store that a run does not know to its vocabulary and its network.

    Parameters
    ----------
    run : run to start from; it is left as it is.
    store : event store of the hospital that uses the codes.
    new_run : folder of the run to make, which `predict` and all others take.
    sites : sites whose subjects are read; by default all. As in `adapt`, those in splits that the run was neither
        trained nor tuned on (`held_out` by default) are not read.
    min_count : codes with fewer events at these sites stay unknown.

    Raises
    ------
    ConfigError
        If a site is not in the store, it has no code that the run lacks, or `min_count` is below 1.
    """
    base, opened = Run(run), EventStore.open(store)
    unknown_sites = sorted(set(sites or ()) - set(opened.subjects["site"].unique()))
    if unknown_sites:
        msg = f"sites must be sites of the store; got {', '.join(unknown_sites)}. See `sojourn inspect {store}`."
        raise ConfigError(msg)
    step = {
        "what": "codes",
        "run": run_identity(base),
        "store": store_identity(opened),
        "sites": list(sites) if sites else None,
        "splits": base.config.read_splits,
        "min_count": min_count,
    }
    made_by = lineage(base, step)
    if is_finished(new_run, made_by):
        return _report(new_run, read_log(new_run)[-1], was_finished=True)
    table, added = extended_table(base.vocabulary, _own_codes(base, opened, sites, min_count))
    if not added.height:
        msg = f"store must hold codes that the run lacks; all codes of {store} with {min_count} events are known."
        raise ConfigError(msg)
    vocabulary = ModelVocabulary(table, base.vocabulary.folded)
    network, likeness = extended_network(base, vocabulary, added)
    line: dict[str, object] = {
        "num_codes": added.height,
        "num_events": int(added["count"].sum()),
        "described": int(added["description"].is_not_null().sum()),
        "num_alike": int((likeness > LEAST_LIKENESS).sum()),
    }
    with unfinished_run(new_run, made_by) as folder:
        write_run(folder, base, network, made_by=made_by, sites=base.sites, log=[line])
        vocabulary.save(folder / VOCABULARY)
    return _report(new_run, line, was_finished=False)


def _report(path: Path, line: dict[str, object], *, was_finished: bool) -> ExtendReport:
    return ExtendReport(path=str(path), was_finished=was_finished, **line)  # type: ignore[arg-type]


def _own_codes(base: Run, store: EventStore, sites: Sequence[str] | None, min_count: int) -> pl.DataFrame:
    """Codes with `min_count` events at the sites, in the splits that training reads.

    None is folded into its parent: to the run a rarer one stays unknown, so the parent would stand for no event.
    """
    if min_count < 1:
        msg = f"min_count must be at least 1; got {min_count}."
        raise ConfigError(msg)
    rows = np.concatenate([store.rows(split=split, sites=sites) for split in base.config.read_splits])
    if not len(rows):
        splits = ", ".join(base.config.read_splits)
        msg = f"store must hold subjects in the splits {splits}; {store.path} has none. See `sojourn inspect`."
        raise ConfigError(msg)
    return ModelVocabulary.fit(store, rows, min_count=1).table.filter(pl.col("count") >= min_count)


def extended_table(known: ModelVocabulary, own: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The vocabulary with the entries of another one that it lacks, and these entries.

    Left out are target-only codes, which only a source can bring, `//unknown` entries, and what the known vocabulary
    folds into a parent. Canonical order is kept; `count` of the new entries is set to zero, as no training event is
    theirs.
    """
    lacks = ~pl.col("code").is_in([*known.index, *known.folded])
    is_code = ~pl.col("target_only") & ~pl.col("code").str.ends_with(UNKNOWN)
    added = own.filter(lacks & is_code & (pl.col("count") > 0))
    whole = pl.concat([known.table, added.with_columns(count=pl.lit(0, pl.Int64))])
    whole = whole[_order(whole, len(known))].drop("index").with_row_index("index")
    index = {code: k for k, code in enumerate(whole["code"])}
    nearest = [next((index[a] for a in ancestors(code) if a in index), None) for code in whole["code"]]
    unknown = [index[unknown_of(code, index)] for code in whole["code"]]
    pointers = {"parent": pl.Series(nearest, dtype=pl.UInt32), "unknown": pl.Series(unknown, dtype=pl.UInt32)}
    return whole.with_columns(**pointers).select(list(SCHEMA)), added


def _order(table: pl.DataFrame, num_known: int) -> list[int]:
    """Rows of a table, of which the first ones are known, with each further code among the known ones.

    It comes behind the known one of its family whose name is before its own; a family that is new comes first among
    those of its kind, as the families with the fewest events do.
    """
    rows = table.select(kind_expr().alias("kind"), family_expr().alias("family"), "code").rows()
    families: dict[tuple[int, str], list[tuple[str, int]]] = {}
    for place, (kind, family, code) in enumerate(rows[:num_known]):
        families.setdefault((kind, family), []).append((code, place))
    for mine in families.values():
        mine.sort()
    begins = [sum(other < kind for other, _, _ in rows[:num_known]) for kind in range(4)]

    def key(row: int) -> tuple[int, int, int, str, str]:
        """The known row that a code comes behind; there first the rest of a family, then new ones, then a beginning."""
        kind, family, code = rows[row]
        if row < num_known:
            return row, 0, 0, family, code
        mine = families.get((kind, family))
        if mine is None:
            return begins[kind] - 1, kind, 2, family, code
        number = bisect(mine, (code,))
        place, rank = (mine[number - 1][1], 1) if number else (min(place for _, place in mine) - 1, 3)
        return place, kind, rank, family, code

    return sorted(range(len(rows)), key=key)


def extended_network(base: Run, vocabulary: ModelVocabulary, added: pl.DataFrame) -> tuple[Network, Floats]:
    """The base run's network with rows for the added codes, and how like each of them is to a trained code."""
    weights = safetensors.torch.load_file(str(base.path / WEIGHTS))
    old = base.vocabulary.table
    place = np.array([vocabulary.index[code] for code in old["code"]])
    new_place = np.array([vocabulary.index[code] for code in added["code"]])
    above = np.array([base.vocabulary.index[unknown_of(code, base.vocabulary.index)] for code in added["code"]])
    is_taught = (old["count"] > 0) & ~old["target_only"] & ~old["code"].str.ends_with(UNKNOWN)
    known = np.flatnonzero(is_taught.to_numpy())
    features = word_features(vocabulary.table, taught(vocabulary), NUM_FEATURES).astype(np.float64)
    found = alike(features[place[known]], features[new_place], old["count"].to_numpy()[known])
    size = len(vocabulary)
    for name in (n for n in TAKEN if n in weights):
        rows = weights[name].double().numpy().reshape(len(weights[name]), -1)
        has_identity = not (WORDS in weights and name in IDENTITY)
        new = found.rows(rows[known], rows[above]) if has_identity else np.zeros((len(new_place), rows.shape[1]))
        weights[name] = _grown(weights[name], size, place, new_place, new)
    if WORDS in weights:
        read = word_features(vocabulary.table, taught(vocabulary), weights[WORDS].shape[1])
        weights[WORDS] = _grown(weights[WORDS], size, place, new_place, read[new_place].astype(np.float64))
    counted = vocabulary.table["count"].to_numpy().copy()
    counted[new_place] = added["count"]
    counts = ModelVocabulary(vocabulary.table.with_columns(count=counted), vocabulary.folded)
    codes = code_table(counts, weights["first_head.log_base"], weights.get(WORDS))
    network = Network(base.config.network(), codes, len(base.sites))
    fresh = network.state_dict()
    for name in ("events.loc", "events.scale", "events.tick", "events.value_share", "code_head.can_emit"):
        # What training codes were normalised by stays; only the new rows come from the other hospital.
        grown = fresh[name].clone()
        grown[_with_end(place, weights[name], old.height, size)] = weights[name]
        weights[name] = grown
    network.load_state_dict(weights)
    return network.eval(), found.likeness


def _grown(tensor: Tensor, size: int, place: np.ndarray, new_place: np.ndarray, rows: Floats) -> Tensor:
    """A tensor with one row per code (and perhaps one for END) with room for the new codes."""
    has_end = len(tensor) - len(place)
    grown = tensor.new_empty((size + has_end, *tensor.shape[1:]))
    grown[_with_end(place, tensor, len(place), size)] = tensor
    grown[torch.from_numpy(new_place)] = torch.from_numpy(rows).reshape(len(rows), *tensor.shape[1:]).to(tensor.dtype)
    return grown


def _with_end(place: np.ndarray, tensor: Tensor, num_codes: int, size: int) -> Tensor:
    """Where the rows of a tensor go: codes to their places, END to the end."""
    return torch.from_numpy(np.concatenate([place, np.arange(size, size + len(tensor) - num_codes)]))
