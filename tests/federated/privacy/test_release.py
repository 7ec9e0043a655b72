"""Rows of codes that few patients have do not leave a site."""

import numpy as np

from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.federated.privacy.release import codes_told, withhold_rare
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
    is_unknown = vocabulary.table["code"].str.ends_with("//unknown").to_numpy()
    assert (told == (counts >= 10))[~is_unknown].all()
    is_outcome = vocabulary.table["target_only"].to_numpy()
    few = codes_told(RecordReader(toy_store, vocabulary, ["north"]), rows, min_cell=2)
    assert (few & is_outcome).any()  # or outcomes would never be learnt
    assert told[vocabulary.table["unknown"].to_numpy()[told]].all()
    assert told.any()
    assert not told.all()


def test_rows_of_rare_codes_are_zero_in_every_table_of_codes() -> None:
    is_told = np.array([True, False, True])
    delta = {
        "events.code.weight": np.ones((3, 2), np.float32),
        "code_head.site_bias.weight": np.ones((4, 2), np.float32),
        "start": np.ones(5, np.float32),
    }
    kept = withhold_rare(delta, is_told)
    assert kept["events.code.weight"].sum(1).tolist() == [2, 0, 2]
    assert kept["code_head.site_bias.weight"].sum(1).tolist() == [2, 0, 2, 2]
    assert kept["start"].sum() == 5
    assert kept["events.code.weight"].dtype == np.float32
