"""Rows of codes that few patients have do not leave a site."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from federated.conftest import SMALL
from federated.test_coordinator import Changed
from helpers.toy_process import START, build_toy_store, toy_record
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.federated.coordinator import federate
from sojourn.federated.messages import Message, pack
from sojourn.federated.privacy.release import (
    CODE_TABLES,
    OUTPUT_TABLES,
    codes_told,
    hide_few,
    read_without_rare,
    withhold_rare,
)
from sojourn.federated.site import Site
from sojourn.federated.transport import InProcess
from sojourn.model import CodeTable, ModelConfig, Network
from sojourn.training.records import RecordReader
from sojourn.training.run import Run


def test_codes_are_told_by_their_number_of_patients(toy_store: EventStore) -> None:
    rows = toy_store.rows(split="train", sites=["north"])
    vocabulary = ModelVocabulary.fit(toy_store, toy_store.rows(split="train"), min_count=1)
    told = codes_told(RecordReader(toy_store, vocabulary, ["north"]), rows, min_cell=10)
    index = vocabulary.translate(toy_store).index
    counts = np.zeros(len(vocabulary), int)
    for row in rows:
        subject = toy_store.subject(int(row))
        counts[np.unique(index[np.concatenate([subject.code, subject.static_code])])] += 1
    assert (told == (counts >= 10)).all()
    is_outcome = vocabulary.table["target_only"].to_numpy()
    few = codes_told(RecordReader(toy_store, vocabulary, ["north"]), rows, min_cell=2)
    assert (few & is_outcome).any()  # or outcomes would never be learnt
    assert told.any()
    assert not told.all()


def test_histories_are_read_without_rare_codes(toy_store: EventStore) -> None:
    rows = toy_store.rows(split="train", sites=["north"])
    vocabulary = ModelVocabulary.fit(toy_store, toy_store.rows(split="train"), min_count=1)
    plain, unknown = RecordReader(toy_store, vocabulary, ["north"]), vocabulary.table["unknown"].to_numpy()
    rare = read_without_rare(plain, rows, min_cell=12, unknown_share=0.0)
    records = RecordReader(toy_store, vocabulary, ["north"], rare.read_as).read(rows)
    shown = np.unique(records.events.code)
    assert 0 < len(shown) < len(np.unique(plain.read(rows).events.code))
    for code in shown:
        assert len(np.unique(records.events.subject[records.events.code == code])) >= 12
    # Nor are they asked; derived outcomes are answered as they are.
    is_outcome = vocabulary.table["target_only"].to_numpy()
    asked, whole = records.all_events.code, plain.read(rows).all_events.code
    assert set(asked[~is_outcome[asked]]) == set(shown)
    assert np.array_equal(np.sort(asked[is_outcome[asked]]), np.sort(whole[is_outcome[whole]]))
    forgetting = read_without_rare(plain, rows, min_cell=12, unknown_share=0.1)
    assert forgetting.is_told[unknown[rare.is_told]].all()  # their rows move by the patients of all codes below them
    none = read_without_rare(plain, rows, min_cell=len(rows) + 1, unknown_share=0.0)
    assert not len(RecordReader(toy_store, vocabulary, ["north"], none.read_as).read(rows).events.code)


def test_rows_of_rare_codes_are_zero_in_every_table_of_codes() -> None:
    is_told = np.array([True, False, True])
    delta = {
        "events.code.weight": np.ones((3, 2), np.float32),
        "code_head.panel.own": np.ones((4, 2), np.float32),
        "code_head.bias": np.ones(4, np.float32),
        "start": np.ones(3, np.float32),  # as long as there are codes, and no table of them
    }
    kept = withhold_rare(delta, is_told)
    assert kept["events.code.weight"].sum(1).tolist() == [2, 0, 2]
    assert kept["code_head.panel.own"].sum(1).tolist() == [2, 0, 2, 2]
    assert kept["code_head.bias"].tolist() == [1, 1, 1, 1]  # the histories do not show rare codes
    assert kept["start"].sum() == 3
    assert kept["events.code.weight"].dtype == np.float32


def test_the_tables_of_codes_are_those_that_grow_with_the_vocabulary() -> None:
    shapes = []
    for num_codes in (37, 41):
        ones = torch.ones(num_codes)
        codes = CodeTable(0 * ones, ones, ones, ones.bool(), 0.9 * ones, torch.zeros(num_codes, 19))
        shapes.append({name: tuple(p.shape) for name, p in Network(ModelConfig(), codes, 2).named_parameters()})
    grown = {name for name in shapes[0] if shapes[0][name] != shapes[1][name]}
    assert grown == {*CODE_TABLES, *OUTPUT_TABLES}
    assert all(shapes[0][name][0] in (37, 38) for name in grown)


def test_hazards_of_few_cannot_be_had_from_exposure_or_from_small_bins() -> None:
    events = np.array([[9.0, 0.0, 2.0, 1.0], [2.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    hours = np.array([[50.0, 80.0, 90.0, 70.0], [60.0, 100.0, 120.0, 100.0], [61.0, 103.0, 123.0, 103.0]])
    told, followed = hide_few(events, hours, np.array([True, False, True]), min_cell=5)
    assert (followed == hours[2]).all()
    assert (told[1] == told[2]).all()  # that of three patients looks like that of none
    rate = told[0] / followed[0]
    np.testing.assert_allclose(rate, 12.0 / 290.0)  # the bins behind the first hold fewer than five: all are one


def test_what_is_told_keeps_the_rates_of_many() -> None:
    events = np.array([[40.0, 30.0, 20.0], [0.0, 0.0, 0.0]])
    hours = np.array([[100.0, 90.0, 80.0], [150.0, 140.0, 130.0]])
    told, followed = hide_few(events, hours, np.array([True, True]), min_cell=5)
    np.testing.assert_allclose(told[0] / followed[0], events[0] / hours[0])


@pytest.mark.parametrize("others", [(), (3, 5)], ids=["left out", "as //unknown"])
def test_which_rare_code_a_patient_has_changes_nothing_that_leaves(others: tuple[int, ...], tmp_path: Path) -> None:
    """Two hospitals differ in one thing: which of two codes, known elsewhere, was recorded of one patient."""
    answers: dict[str, list[bytes]] = {}
    for name, other in (("one", "two"), ("two", "one")):
        rows = [row for i in range(40) for row in toy_record(i + 1, ("north", "south")[i % 2], seed=3)]
        rows.append((1, START + timedelta(days=1, hours=3), f"LAB//{name}//u", 7.0, "north"))
        rows += [(i, START + timedelta(days=i), f"LAB//only-{i}//u", 7.0, "north") for i in others]
        rows += [(2 * i, START + timedelta(days=2 * i % 7), f"LAB//{name}//u", 7.0, "south") for i in range(1, 21)]
        rows += [(2 * i, START + timedelta(days=2 * i % 7), f"LAB//{other}//u", 7.0, "south") for i in range(1, 21)]
        store = EventStore.open(build_toy_store(tmp_path / name, num_subjects=0, rows=rows))
        sites = InProcess({site: Site(site, store) for site in ("north", "south")})
        sent = answers[name] = []

        def record(site: str, answer: Message, sent: list[bytes] = sent) -> Message:
            if site == "north":
                sent.append(pack(answer))
            return answer

        federate(Changed(sites, record), tmp_path / f"run-{name}", config=SMALL)
        assert {"LAB//one//u", "LAB//two//u"} <= set(Run(tmp_path / f"run-{name}").vocabulary.table["code"])
        learnt_from = store.subjects["subject_id"].gather(store.rows(split="train", sites=["north"]))
        assert {1, *others} <= set(learnt_from)
    assert len(answers["one"]) == 9  # survey, hazards, start, and three rounds with their evaluations
    assert answers["one"] == answers["two"]
