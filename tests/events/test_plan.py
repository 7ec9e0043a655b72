"""The plan: whole subjects, names that tell data sets apart, a fingerprint of all input."""

from pathlib import Path

import polars as pl
import pytest

from sojourn.errors import DataError, MissingTableError, SchemaError
from sojourn.events.plan import Span, dataset_names, make_plan, pack, read_subjects


def test_pieces_cover_the_shard_and_hold_whole_subjects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sojourn.events.plan.PIECE_ROWS", 4)
    pl.DataFrame({"subject_id": [1, 1, 1, 2, 2, 3, 4, 4, 4, 4, 4, 4, 5]}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"subject_id": [6, 7, 7, 7]}).write_parquet(tmp_path / "b.parquet")
    a, b = tmp_path / "a.parquet", tmp_path / "b.parquet"
    subjects, ends = read_subjects(a)
    assert subjects.tolist() == [1, 2, 3, 4, 5]
    assert list(pack([(a, ends), (b, read_subjects(b)[1])])) == [
        (Span(a, 0, 5),),
        (Span(a, 5, 7),),
        (Span(a, 12, 1), Span(b, 0, 4)),
    ]


def test_an_empty_shard_gives_no_piece(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "a.parquet"
    pl.DataFrame(schema={"subject_id": pl.Int64}).write_parquet(path)
    assert list(pack([(path, read_subjects(path)[1])])) == []
    with pytest.raises(DataError, match="must hold rows"):
        make_plan([tmp_path], derive=None, splits_seed=0)


def test_a_file_that_is_not_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("subject_id")
    with pytest.raises(SchemaError, match=r"a\.parquet"):
        read_subjects(tmp_path / "a.parquet")


@pytest.mark.parametrize("folders", [[], ["/a/x", "/a/x"], ["/a/x", "/a/y/../x"]])
def test_data_sets_are_given_once(folders: list[str]) -> None:
    with pytest.raises(DataError, match="each once"):
        dataset_names([Path(folder) for folder in folders])


def test_fingerprint_follows_the_content(many_shards: Path) -> None:
    before = make_plan([many_shards], derive=None, splits_seed=0).inputs
    assert make_plan([many_shards], derive=None, splits_seed=0).inputs == before
    (many_shards / "data" / "5.parquet").unlink()
    assert make_plan([many_shards], derive=None, splits_seed=0).inputs != before


def test_no_shards(tmp_path: Path) -> None:
    with pytest.raises(MissingTableError, match="sojourn ingest"):
        make_plan([tmp_path], derive=None, splits_seed=0)


def test_derivations_differ_by_their_own_fingerprint(many_shards: Path) -> None:
    def derive(events: pl.DataFrame) -> pl.DataFrame:
        return events.clear()

    plain = make_plan([many_shards], derive=derive, splits_seed=0).inputs["derive"]
    derive.fingerprint = "2"
    assert make_plan([many_shards], derive=derive, splits_seed=0).inputs["derive"] == f"{plain} 2"
