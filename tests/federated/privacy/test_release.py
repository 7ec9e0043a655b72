"""Rows of codes that few patients have do not leave a site."""

import numpy as np
import torch

from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.federated.privacy.release import CODE_TABLES, codes_told, hide_few, rows_told, withhold_rare
from sojourn.model import CodeTable, ModelConfig, Network
from sojourn.training.records import RecordReader


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
    reader = RecordReader(toy_store, vocabulary, ["north"])
    unknown = vocabulary.table["unknown"].to_numpy()
    assert rows_told(told, reader, 0.1)[unknown[told]].all()  # its row moves by the patients of all of them
    assert (rows_told(told, reader, 0.0) == told).all()
    assert told.any()
    assert not told.all()


def test_rows_of_rare_codes_are_zero_in_every_table_of_codes() -> None:
    is_told = np.array([True, False, True])
    delta = {
        "events.code.weight": np.ones((3, 2), np.float32),
        "code_head.site_bias.weight": np.ones((4, 2), np.float32),
        "start": np.ones(3, np.float32),  # as long as there are codes, and no table of them
    }
    kept = withhold_rare(delta, is_told)
    assert kept["events.code.weight"].sum(1).tolist() == [2, 0, 2]
    assert kept["code_head.site_bias.weight"].sum(1).tolist() == [2, 0, 2, 2]
    assert kept["start"].sum() == 3
    assert kept["events.code.weight"].dtype == np.float32


def test_the_tables_of_codes_are_those_that_grow_with_the_vocabulary() -> None:
    shapes = []
    for num_codes in (37, 41):
        ones = torch.ones(num_codes)
        codes = CodeTable(0 * ones, ones, ones, ones.bool(), 0.9 * ones, torch.zeros(num_codes, 19))
        shapes.append({name: tuple(p.shape) for name, p in Network(ModelConfig(), codes, 2).named_parameters()})
    grown = {name for name in shapes[0] if shapes[0][name] != shapes[1][name]}
    assert grown == set(CODE_TABLES)
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
