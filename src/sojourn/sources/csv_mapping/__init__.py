"""A hospital's own tables -> events, as one YAML file of column mappings says.

Conventions:

* **RAW** is a folder with ``mapping.yaml`` beside the tables, or a YAML file that names them from where it lies.
* **Times** are as written. With `time_zone`, times that name another zone or an offset from UTC are brought to it. A
  date without a time of day stands at 23:59:59, unless the mapping says ``day: start``; births stand at 0:00.
* **Values** that are no number keep their text; short ones become the last level of the code. An empty value is no
  event.
* **Subjects** whose ids are text get a number made from the text (`sojourn.sources.identity.hashed`). That is no
  pseudonym: who has the list of ids can make the numbers again.
* **Quarantine**: a row gives at least one event or is set aside, as everywhere.
"""

import csv
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import polars as pl
from pydantic import ValidationError

from sojourn.errors import ConfigError
from sojourn.sources.csv_mapping.compiling import compile_mapping
from sojourn.sources.csv_mapping.loading import Located, load, suggest
from sojourn.sources.csv_mapping.mapping import CodeMeaning
from sojourn.sources.csv_mapping.reading import Subjects, read_lookup, stream
from sojourn.sources.records import SourceBatch, as_codes


class CsvMapping:
    """The source ``csv``."""

    name = "csv"

    def __init__(self) -> None:
        self._raw: Path | None = None

    def read(self, raw: Path, *, site: str | None, warn: Callable[[str], None]) -> Iterator[SourceBatch]:
        """Yield the batches of all tables; see `sojourn.sources.records.Source`.

        Raises
        ------
        ConfigError
            If the mapping is wrong or names a column that is not there; the message has the line.
        """
        located = load(raw)
        mapping = located.mapping
        tables = compile_mapping(located)
        _meanings(located)  # before hours of reading
        subjects = Subjects(mapping.subject.ids)
        for table in tables:
            lookups = {join.table: read_lookup(join, warn) for join in table.joins}
            yield from stream(table, lookups, subjects, site or mapping.site, warn)

    def codes(self, raw: Path) -> pl.DataFrame:
        """What the mapping says of codes."""
        self._raw = raw
        return as_codes([meaning.model_dump(exclude_none=True) for meaning, _ in _meanings(load(raw))])

    def tables(self, raw: Path) -> dict[str, tuple[str, ...]]:
        """Names of the files of each table that gives events; everything that `read` refuses is refused."""
        return {table.name: tuple(path.name for path in table.dialect.paths) for table in compile_mapping(load(raw))}

    def files(self, raw: Path) -> list[Path]:
        """The mapping and all files that it names."""
        located = load(raw)
        mapping = located.mapping
        found = [path for table in mapping.tables.values() for path in located.folder.glob(table.file)]
        if mapping.codes_file is not None:
            found.append(located.path.parent / mapping.codes_file)
        return [located.path, *(path for path in found if path.is_file())]

    def check_concepts(self, raw: Path, known: Collection[str]) -> None:
        """Refuse concepts that are none.

        Raises
        ------
        ConfigError
            With the line of the first of them, and the names that are near.
        """
        for meaning, wrong in _meanings(load(raw)):
            if meaning.concept is not None and meaning.concept not in known:
                raise ConfigError(f"{wrong}{suggest(meaning.concept, known)}")

    def finish(self, out: Path) -> None:
        """Keep the mapping beside the codes that it explains."""
        assert self._raw is not None, "finish follows codes"
        shutil.copyfile(load(self._raw).path, out / "metadata" / "mapping.yaml")


def _meanings(located: Located) -> list[tuple[CodeMeaning, ConfigError]]:
    """What codes mean, and for each what to raise if it is wrong: an error that says where it stands."""
    mapping = located.mapping
    found = [
        (meaning, located.error(("codes", number, "concept"), f"there is no concept {meaning.concept!r}."))
        for number, meaning in enumerate(mapping.codes)
    ]
    if mapping.codes_file is None:
        return found
    path = located.path.parent / mapping.codes_file
    if not path.is_file():
        raise located.error(("codes_file",), f"there is no file {path}.")
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            place = f"{path} line {number}"
            try:
                meaning = CodeMeaning.model_validate({name: cell for name, cell in row.items() if cell})
            except ValidationError as error:
                problem = error.errors()[0]
                msg = f"{place}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}"
                raise ConfigError(msg) from error
            found.append((meaning, ConfigError(f"{place}: there is no concept {meaning.concept!r}.")))
    return found


SOURCE = CsvMapping()
