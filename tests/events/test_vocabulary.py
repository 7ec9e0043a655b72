"""A model's vocabulary: rare codes fall back, unseen ones are counted, never dropped."""

from pathlib import Path

from sojourn.events.build import build_store
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary


def test_fit_save_load_translate(two_stays: Path, tmp_path: Path) -> None:
    build_store(tmp_path / "store", [two_stays])
    store = EventStore.open(tmp_path / "store")
    vocabulary = ModelVocabulary.fit(store, store.rows("train"), min_count=2)
    codes = vocabulary.table["code"].to_list()
    assert codes[0] == "//unknown"
    assert codes[-2:] == ["OUTCOME//follow_up_end", "OUTCOME//unknown"]
    hr = vocabulary.table.row(vocabulary.index["VITAL//hr//bpm"], named=True)
    assert (hr["count"], hr["loc"], hr["has_value"]) == (2, 80, True)
    vocabulary.save(tmp_path / "vocabulary.parquet")
    again = ModelVocabulary.load(tmp_path / "vocabulary.parquet")
    assert again.table.equals(vocabulary.table)
    translation = again.translate(store)
    names = [codes[k] for k in translation.index]
    mapped = dict(zip(store.vocabulary["code"], names, strict=True))
    assert mapped["VITAL//hr//bpm"] == "VITAL//hr//bpm"
    assert mapped["CONCEPT//creatinine"] == "//unknown"
    assert dict(translation.unknown.select("code", "count").iter_rows())["WEIGHT//kg"] == 1
