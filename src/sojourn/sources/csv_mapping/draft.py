"""Propose a mapping from the files of an export: a beginning to be checked line by line, which is read at once."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from sojourn.errors import MissingTableError
from sojourn.sources.csv_mapping.looks import NULLS, Look, look_at
from sojourn.sources.csv_mapping.mapping import MICROS

_FILES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".parquet")
_SUBJECT = r"^(?:subject|patient|pat|person|pid|mrn|icu_?patient)[ _]?(?:id|nr|no|num|number|key)?$"
_STAY = r"(?:stay|case|fall|visit|encounter|admission|hadm|icustay)[ _]?(?:id|nr|no|num|number|key)"
_SITE = r"^(?:hospital|site|clinic|klinik|centre|center)(?:[ _]?id)?$"
_ITEM = r"item|label|param|analyt|variable|^test|test_?name|^name$|drug|medic|substan|^code$|concept"
_VALUE = r"^value|result|^wert|ergebnis|^val$|valuenum|measurement|^rate$|dose|amount"
_UNIT = r"unit|einheit|uom"
_SEX = r"^(?:sex|gender|geschlecht)$"
_AGE = r"^(?:age|alter)"
_BIRTH = r"birth|^dob$|geburt"
_DEATH = r"death|died|^dod$|exitus"
_START = r"admi|^in$|intime|aufnahme|start|begin|from|von"
_END = r"disch|^out$|outtime|entlass|stop|^end|bis|until"
_DEAD = r"^(?:dead|died|death|deceased|expired|verstorben|tot|exitus|overleden|décédé|fallecido)$"
_MOST_WORDS = 30
_DRUG = r"drug|medic|infus|substan"


class _Table(NamedTuple):
    """A table of the draft."""

    name: str
    file: str
    look: Look

    def first(self, pattern: str, among: Iterable[str] | None = None) -> str | None:
        """The first column whose name fits."""
        return next((c for c in (self.look.columns if among is None else among) if _fits(pattern, c)), None)


def draft_mapping(raw: Path) -> str:
    """YAML text of a mapping for the files in a folder.

    Names and contents of columns decide: times, numbers, repeated words. What is not certain is marked ``# check``.

    Raises
    ------
    MissingTableError
        If the folder holds no tables.
    """
    paths = sorted(p for p in raw.rglob("*") if p.is_file() and p.name.lower().endswith(_FILES)) if raw.is_dir() else []
    tables = [_Table(_name(path), path.relative_to(raw).as_posix(), look_at(path)) for path in paths]
    tables = [table for table in tables if table.look.columns]
    if not tables:
        msg = f"raw must be a folder of tables ({', '.join(_FILES)}); {raw} holds none. Give the folder of the export."
        raise MissingTableError(msg)
    lines = [
        "# Drafted from the files. Check every line, and what is marked most of all.",
        f"site: {yaml.safe_dump(raw.resolve().name).splitlines()[0]}   # check: name of the hospital",
    ]
    home = next((table for table in tables if table.first(_SUBJECT)), tables[0])
    who = home.first(_SUBJECT) or home.first(_STAY) or home.look.columns[0]
    ids = "integer" if home.look.is_whole(who) else "text"
    lines.append(f"subject: {{column: {_quoted(who)}, ids: {ids}}}   # check: the patient, not the stay")
    usual = _usual(tables)
    lines += [*_formats(tables, usual), "tables:"]
    for table in tables:
        lines += _lines(table, home, who, usual)
    lines += [
        "# What codes mean; `sojourn concepts` lists the names of concepts.",
        "# codes:",
        "#   - {code: LAB//Creatinine//mg/dL, concept: creatinine, unit: mg/dL}",
    ]
    return "\n".join(lines) + "\n"


def _fits(pattern: str, column: str) -> bool:
    return re.search(pattern, column, re.IGNORECASE) is not None


def _name(path: Path) -> str:
    return re.sub(r"\W+", "_", path.name.split(".")[0]).strip("_").lower() or "table"


def _quoted(text: str) -> str:
    """A word as YAML writes it inside braces."""
    if re.fullmatch(r"[A-Za-z_][\w.-]*", text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class _Usual(NamedTuple):
    """How most files are written."""

    separator: str
    encoding: str
    decimal: str


def _usual(tables: Sequence[_Table]) -> _Usual:
    looks = [table.look for table in tables if table.look.separator is not None]
    separators = [look.separator or "," for look in looks] or [","]
    encodings = [look.encoding for look in looks if look.encoding != "ascii"] or ["utf-8"]
    decimal = "," if any(look.decimal == "," for look in looks) else "."
    return _Usual(max(separators, key=separators.count), max(encodings, key=encodings.count), decimal)


def _formats(tables: Sequence[_Table], usual: _Usual) -> list[str]:
    """The defaults of all files."""
    looks = [table.look for table in tables if table.look.separator is not None]
    if not looks:
        return []
    lines = ["defaults:", f"  separator: {_quoted(usual.separator)}", f"  encoding: {usual.encoding}"]
    lines += [
        f'  decimal: "{usual.decimal}"',
        f"  nulls: [{', '.join(map(_quoted, NULLS))}]   # check: words for an empty cell",
    ]
    formats = sorted({form for look in looks for form in look.times.values() if form})
    if formats:
        lines.append(f"  time_format: [{', '.join(map(_quoted, formats))}]")
    return lines


def _lines(table: _Table, home: _Table, who: str, usual: _Usual) -> list[str]:
    """One table of the draft."""
    look, times = table.look, list(table.look.times)
    lines = [f"  {table.name}:", f"    file: {_quoted(table.file)}"]
    if look.separator not in (None, usual.separator):
        lines.append(f"    separator: {_quoted(look.separator or ',')}")
    if look.encoding not in ("ascii", usual.encoding):
        lines.append(f"    encoding: {look.encoding}")
    if look.decimal not in (None, usual.decimal):
        lines.append(f'    decimal: "{look.decimal}"')
    stay = table.first(_STAY)
    is_joined = False
    if table is home and stay is not None and look.is_key(stay):
        lines.append(f"    key: {_quoted(stay)}")
    if table is not home and stay is not None and stay in home.look.columns and home.look.is_key(stay):
        lines.append(f"    join: {{{home.name}: {_quoted(stay)}}}")
        is_joined = True
    if who not in look.columns:
        if is_joined:
            lines.append(f"    subject: {_quoted(f'{home.name}.{who}')}")
        else:
            lines.append("    # check: no column of the patient was found; say subject, or join a table that has it")
    if site := table.first(_SITE):
        lines.append(f"    site: {_quoted(site)}   # check: only if the tables hold several hospitals")
    lines += _people(table, times)
    since = home.first(_START, home.look.times) if is_joined else None
    lines += _events(table, {who, stay, site}, None if since is None else f"{home.name}.{since}")
    return lines


def _people(table: _Table, times: list[str]) -> list[str]:
    """Birth, sex, stay and death, where columns are called so."""
    lines = []
    start, end = table.first(_START, times), table.first(_END, times)
    is_stay = bool(start and end) and table.first(_ITEM) is None
    if sex := table.first(_SEX):
        lines.append(f"    sex: {_quoted(sex)}")
    if birth := table.first(_BIRTH, times):
        lines.append(f"    birth: {{date: {_quoted(birth)}}}")
    elif (age := table.first(_AGE, table.look.numbers)) and start:
        lines.append(f"    birth: {{age: {_quoted(age)}, at: {_quoted(start)}}}")
    died = _died(table) if is_stay else None
    if is_stay:
        lines.append("    icu_stay:   # check: icu_stay or hospital_stay")
        lines += [f"      start: {_quoted(start or '')}", f"      end: {_quoted(end or '')}"]
        note = "      # check: without died: {column: COLUMN, is: [WORD]} no death is known"
        lines.append(note if died is None else f"      died: {died}")
    if died is not None:
        lines.append(f"    death: {{column: {_quoted(end or '')}, when: {died}}}")
        return lines
    if death := table.first(_DEATH, times):
        lines.append(f"    death: {_quoted(death)}")
    return lines


def _died(table: _Table) -> str | None:
    """The condition for a stay that ended by death, from the words in its columns."""
    for column in table.look.columns:
        words = table.look.frame[column].drop_nulls().unique().sort().to_list()
        dead = [word for word in words if _fits(_DEAD, word)]
        if dead and len(words) <= _MOST_WORDS:
            return f"{{column: {_quoted(column)}, is: [{', '.join(map(_quoted, dead))}]}}"
    return None


def _time(table: _Table, since: str | None) -> str | None:
    """The time of the rows: a column of times, or an offset since the stay began."""
    written = table.first(_START, table.look.times) or next(iter(table.look.times), None)
    if written is not None:
        return _quoted(written)
    for column in table.look.numbers:
        unit = next((unit for unit in MICROS if _fits(unit.rstrip("s"), column)), None)
        if since is not None and (unit is not None or _fits("offset", column)):
            note = "" if unit else "   # check: the unit"
            return f"{{column: {_quoted(column)}, unit: {unit or 'minutes'}, since: {_quoted(since)}}}{note}"
    return None


def _events(table: _Table, known: set[str | None], since: str | None) -> list[str]:
    """Measurements: long ones with a column of items, or one column for each variable."""
    look, times = table.look, list(table.look.times)
    item, unit = table.first(_ITEM), table.first(_UNIT)
    value = table.first(_VALUE)
    start = _time(table, since)
    end = table.first(_END, times)
    lasts = end is not None and start is not None and start != _quoted(end)
    numbers = [c for c in look.numbers if c not in known and not _fits(f"{_STAY}|{_AGE}", c)]
    time = start or "COLUMN_OF_TIME"
    mark = "" if start else "   # check: no column of times was found; an offset says column, unit and since"
    level = f"//{{{unit}}}" if unit else ""
    if item and (value or table.first(_DRUG)):
        family = "INFUSION_START" if lasts else "LAB"
        lines = [
            "    events:",
            f'      - code: "{family}//{{{item}}}{level}"   # check: the family, such as LAB or VITAL',
        ]
        lines.append(f"        time: {time}{mark}")
        lines += [f"        value: {_quoted(value)}"] if value else []
        if lasts:
            lines += [f"        end: {_quoted(end or '')}", f'        end_code: "INFUSION_END//{{{item}}}"']
        return lines
    if len(numbers) >= 2 and start and not lasts:
        wide = [
            f"          {_quoted(c)}: {_quoted(f'VITAL//{c}')}   # check: add the unit, as in VITAL//{c}//mmHg"
            for c in numbers
        ]
        return ["    events:", f"      - time: {time}", "        wide:", *wide]
    return []
