"""The rival's language: a record told in tokens by hand, and every token scored once."""

import dataclasses
import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.toy_process import HEART_RATE, LACTATE, START, Row, build_toy_store
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.inference.bins import Bins
from sojourn.training.records import RecordReader

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")
NAMES = {"hr": "CONCEPT//heart_rate", "lactate": "CONCEPT//lactate", "left": "HOSPITAL_DISCHARGE//ALIVE"}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> RecordReader:
    """One patient: two close instants, one an hour later, one after a year."""

    def at(minutes: float, code: str, value: float | None = None) -> Row:
        return (1, START + np.timedelta64(int(minutes * 60), "s").item(), code, value, "north")

    rows = [
        (1, None, "GENDER//F", None, "north"),
        at(-60 * 24 * 365.25 * 52, "MEDS_BIRTH"),
        at(0, LACTATE, 2.0),
        at(0, HEART_RATE, 80),
        at(3, HEART_RATE, 90),
        at(63, HEART_RATE),
        at(63, LACTATE, 4.5),
        at(63 + 400 * 24 * 60, "HOSPITAL_DISCHARGE//ALIVE"),
    ]
    folder = tmp_path_factory.mktemp("told")
    store = EventStore.open(build_toy_store(folder, num_subjects=1, rows=rows))
    return RecordReader(store, ModelVocabulary.fit(store, store.rows(), min_count=1), [])


@pytest.fixture(scope="module")
def module() -> dict[str, ModuleType]:
    """The modules of `benchmarks/token_gpt`, which are no part of the package."""
    sys.path.insert(0, BENCHMARKS)
    try:
        return {name: importlib.import_module(f"token_gpt.{name}") for name in ("language", "score")}
    finally:
        sys.path.remove(BENCHMARKS)


@pytest.fixture(scope="module")
def bins(reader: RecordReader) -> Bins:
    edges = torch.full((reader.num_codes, 2), torch.inf)
    edges[reader.vocabulary.index[NAMES["hr"]], :] = torch.tensor([85.5, 100.5])
    edges[reader.vocabulary.index[NAMES["lactate"]], 0] = 3.05
    return Bins(edges)


@pytest.mark.parametrize("has_short_token", [False, True])
def test_a_record_is_told_as_by_hand(
    reader: RecordReader, module: dict[str, ModuleType], bins: Bins, has_short_token: bool
) -> None:
    bins = dataclasses.replace(bins, has_short_token=has_short_token)
    language = module["language"].Language(reader.num_codes, bins)
    hr, lactate, left = (reader.vocabulary.index[name] for name in NAMES.values())
    value, interval = language.first_value, language.first_time
    (story,) = language.tell(reader, np.array([0]))
    short = [interval] if has_short_token else []
    hour, half_year = interval + 3, language.last_time
    assert story.token.tolist() == [
        *(hr, value, lactate, value),
        *(*short, hr, value + 1),
        *(hour, hr, lactate, value + 1),
        *(half_year, half_year, left),
    ]
    assert story.num_given == 4
    assert story.num_events == 4
    female = reader.vocabulary.index["GENDER//F"]
    assert story.prefix.tolist() == [language.start, female, language.first_age + 10]
    assert story.age[-1] == language.first_age + 10
    possible = language.is_possible(
        torch.from_numpy(story.token[3:-1]),
        torch.tensor([lactate, *([lactate] if short else []), hr, hr, hr, hr, lactate, lactate, lactate, lactate]),
        torch.from_numpy(~reader.vocabulary.table["target_only"].to_numpy()),
    )
    assert possible.gather(1, torch.from_numpy(story.token[4:])[:, None]).all()
    assert not possible[:, language.start].any()


class Uniform:
    """Stands in for a GPT: all tokens are alike."""

    def __init__(self, context: int, num_tokens: int) -> None:
        self.config, self.num_tokens = SimpleNamespace(n_positions=context), num_tokens

    def eval(self) -> None:
        """Nothing to switch."""

    def __call__(self, rows: torch.Tensor) -> SimpleNamespace:
        assert rows.shape[1] < self.config.n_positions
        return SimpleNamespace(logits=torch.zeros(*rows.shape, self.num_tokens))


@pytest.mark.parametrize("context", [7, 9, 64])
def test_every_token_after_the_first_instant_is_scored_once(
    reader: RecordReader, module: dict[str, ModuleType], bins: Bins, context: int
) -> None:
    language = module["language"].Language(reader.num_codes, bins)
    stories = list(language.tell(reader, np.array([0])))
    found = module["score"].bits(Uniform(context, len(language)), language, stories)
    count = len(stories[0].token) - stories[0].num_given
    assert found.sum() == pytest.approx(count * np.log2(len(language)))
    assert (found > 0).all()
