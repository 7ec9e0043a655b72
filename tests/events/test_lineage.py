"""What a data set was made from, over several steps."""

from pathlib import Path

from helpers.task_records import table
from sojourn.events.lineage import read_lineage, write_lineage
from sojourn.events.meds import write_table
from sojourn.files import sha256


def test_a_data_set_knows_all_that_it_was_made_from(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    for hour, folder in enumerate((first, second)):
        write_table(table([(1, hour, "A")]), folder / "data" / "0.parquet")
    assert read_lineage(first) == []
    write_lineage(first, second)
    write_lineage(second, third)
    assert read_lineage(second) == [sha256(first / "data" / "0.parquet")]
    assert read_lineage(third) == sorted(sha256(folder / "data" / "0.parquet") for folder in (first, second))
