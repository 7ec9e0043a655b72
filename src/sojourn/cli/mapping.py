"""The command that drafts and checks the mapping of a hospital's own tables."""

from pathlib import Path
from typing import Annotated

import typer

from sojourn.cli.printing import literal, say


def mapping(
    raw: Annotated[Path, typer.Argument(help="Folder of an export: csv, tsv, txt (also gzipped) and parquet files.")],
    check: Annotated[bool, typer.Option("--check", help="Check the folder's mapping.yaml instead.")] = False,
) -> None:
    """Propose a mapping.yaml for your own tables, or check the one that is there.

    Example: [dim]sojourn mapping raw/ours > raw/ours/mapping.yaml[/]
    """
    if check:
        from sojourn.pipeline import check_mapping

        for table, files in check_mapping(raw).items():
            say(literal(f"{table}: {', '.join(files)}"))
        return
    from sojourn.sources.csv_mapping.draft import draft_mapping

    print(draft_mapping(raw), end="")
