"""The command that shows the shared concepts, and checks one's own tables."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sojourn.cli.options import AsJson
from sojourn.cli.printing import literal, print_record, print_table, say

_CHECK = "check"
_CODE_COLUMNS = ("source", "match", "code", "scale", "offset", "unit", "label", "specimen", "role", "method", "count")


def concepts(
    name: Annotated[str | None, typer.Argument(help="Concept to show; `check` checks FILE; by default all.")] = None,
    file: Annotated[Path | None, typer.Argument(help="After `check`: your CSV file, or a folder of them.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Only what stands for this source; of FILE, the source of its rows.")
    ] = None,
    dictionary: Annotated[
        Path | None, typer.Option(help="After `check`: CSV of the source's own words, with an id and a label.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The shared concepts: all, one with its unit, limits and ids, or a check of your own tables.

    Example: [dim]sojourn concepts lactate --source mimic-iv[/]

    Your own table: [dim]sojourn concepts check ours.csv --source csv --dictionary items.csv[/]
    """
    if name == _CHECK:
        _check(file, source, dictionary, as_json=as_json)
    elif file is not None or dictionary is not None:
        raise typer.BadParameter("only `sojourn concepts check` takes a file or a dictionary")
    elif name is None:
        _list(source, as_json=as_json)
    else:
        _show(name, source, as_json=as_json)


def _list(source: str | None, *, as_json: bool) -> None:
    from sojourn.concepts.show import list_concepts

    rows = list_concepts(source).to_dicts()
    if as_json:
        print(json.dumps(rows))
    else:
        print_table(rows)


def _show(name: str, source: str | None, *, as_json: bool) -> None:
    from sojourn.concepts.show import show_concept

    found = show_concept(name, source)
    if as_json:
        print(json.dumps(found))
        return
    codes = found.pop("codes")
    print_record({key: value for key, value in found.items() if value is not None}, as_json)
    shown = [key for key in _CODE_COLUMNS if any(code[key] is not None for code in codes)]
    print_table([{key: code[key] for key in shown} for code in codes])
    for code in codes:
        if code["note"] is not None:
            say(literal(f"{code['source']} {code['code']}: {code['note']}"))


def _check(file: Path | None, source: str | None, dictionary: Path | None, *, as_json: bool) -> None:
    from sojourn.concepts.custom import read_tables

    if file is None:
        raise typer.BadParameter("`sojourn concepts check` needs the file to check")
    own = read_tables(file, source=source, dictionary=dictionary)
    sources = sorted(own.codes["source"].unique())
    result = {"concepts": own.concepts.height, "codes": own.codes.height, "sources": ", ".join(sources)}
    print_record(result, as_json)
