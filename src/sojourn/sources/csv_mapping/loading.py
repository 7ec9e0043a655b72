"""Read a mapping and say, with the line of the file, what is wrong in it."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

import yaml
from pydantic import ValidationError

from sojourn.errors import ConfigError, DataError
from sojourn.sources.csv_mapping.mapping import Mapping

FILE_NAME = "mapping.yaml"
Place = tuple[str | int, ...]
"""Where in the mapping: keys and positions from the top."""


class Located:
    """A mapping, the file it stands in, and the line of each of its parts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = path.read_text(encoding="utf-8")
        try:
            # Every scalar stays text: to YAML `no` is False and 01 is 1, to a hospital they are words.
            self._root = yaml.compose(text, Loader=yaml.BaseLoader)
            content = yaml.load(text, Loader=yaml.BaseLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = "" if mark is None else f" line {mark.line + 1}"
            msg = f"{path}{line} must be YAML; {getattr(error, 'problem', None) or error}. Mend the indentation there."
            raise ConfigError(msg) from error
        try:
            self.mapping = Mapping.model_validate(content)
        except ValidationError as error:
            raise ConfigError("\n".join(self._explain(problem) for problem in error.errors())) from error

    @property
    def folder(self) -> Path:
        """Folder of the tables."""
        return self.path.parent / (self.mapping.folder or ".")

    def line(self, place: Place) -> int:
        """Line (from 1) of the deepest part of `place` that stands in the file."""
        node, line = self._root, 1
        for step in place:
            found = _child(node, step)
            if found is not None:
                node, line = found
        return line

    def error(self, place: Place, said: str) -> ConfigError:
        """An error at a place of the mapping."""
        return ConfigError(f"{self.path} line {self.line(place)} ({_dotted(place)}): {said}")

    def _known(self, place: Place) -> Place:
        """The parts of a place that stand in the file, and its last part, which may be missing there."""
        node: yaml.Node | None = self._root
        kept: list[str | int] = []
        for number, step in enumerate(place):
            found = _child(node, step)
            if found is not None or number == len(place) - 1:
                kept.append(step)
            node = node if found is None else found[0]
        return tuple(kept)

    def _explain(self, problem: object) -> str:
        """One problem of pydantic as a sentence with its line."""
        assert isinstance(problem, dict)
        place = self._known(problem["loc"])
        if problem["type"] == "extra_forbidden":
            said = f"unknown field {place[-1]!r}.{suggest(str(place[-1]), _fields(place))}"
        elif problem["type"] == "missing":
            said = f"the field {place[-1]!r} is missing."
        else:
            said = str(problem["msg"]).removeprefix("Value error, ")
        return str(self.error(place, said))


def load(raw: Path) -> Located:
    """Read the mapping of a folder, or the mapping that `raw` is.

    Raises
    ------
    ConfigError
        If the mapping is not valid; the message names the line and the field.
    DataError
        If there is none.
    """
    path = raw / FILE_NAME if raw.is_dir() else raw
    if not path.is_file() or path.suffix.lower() not in (".yaml", ".yml"):
        msg = f"raw must be a folder with {FILE_NAME}, or a YAML file; {raw} is neither. `sojourn mapping` drafts one."
        raise DataError(msg)
    return Located(path)


def suggest(word: str, known: Iterable[str]) -> str:
    """A sentence with the nearest known words, or with all of them if they are few.

    Examples
    --------
    >>> suggest("patiend_id", ["patient_id", "time"])
    ' Did you mean patient_id?'
    >>> suggest("x", ["patient_id", "time"])
    ' There are: patient_id, time.'
    """
    known = list(known)
    lower = {name.lower(): name for name in known}
    near = [lower[name] for name in difflib.get_close_matches(word.lower(), list(lower), n=3, cutoff=0.6)]
    if near:
        return f" Did you mean {' or '.join(near)}?"
    return f" There are: {', '.join(known)}." if 0 < len(known) <= 40 else ""


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node, int] | None:
    """The part of a node under a key or at a position, and its line."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return value, key.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        found = node.value[step]
        return found, found.start_mark.line + 1
    return None


def _dotted(place: Place) -> str:
    return re.sub(r"\.(\d+)", r"[\1]", ".".join(map(str, place))) or "top"


def _fields(place: Place) -> list[str]:
    """Names of the fields that may stand where an unknown one does."""
    model: object = Mapping
    for step in place[:-1]:
        fields = getattr(model, "model_fields", None)
        if fields is not None and step in fields:
            model = fields[step].annotation
        inner = [part for part in _parts(model) if hasattr(part, "model_fields")]
        model = inner[0] if inner else model
    fields = getattr(model, "model_fields", {})
    return [field.alias or name for name, field in fields.items()]


def _parts(annotation: object) -> list[object]:
    """A type and the types inside it."""
    inside = [part for argument in getattr(annotation, "__args__", ()) for part in _parts(argument)]
    return [annotation, *inside]
