"""The picture of a data set's or store's concepts by site: as SVG, as a page, or as PNG."""

import math
from pathlib import Path

import polars as pl

from sojourn.concepts import concept_table
from sojourn.concepts.coverage import coverage
from sojourn.errors import ConfigError
from sojourn.files import atomic_file
from sojourn.report.figures.coverage import CoverageCell, coverage_figure
from sojourn.report.svg import clean, style_sheet

__all__ = ["coverage_cells", "coverage_groups", "coverage_picture"]

_SUFFIXES = (".svg", ".html", ".png")


def coverage_picture(path: Path, out: Path) -> Path:
    """Draw how often each site records each concept, in what unit and around which value.

    Parameters
    ----------
    path
        MEDS data set or event store.
    out
        File to write: `.svg` and `.html` tell the figures of every cell where the pointer is, `.png` shows the same.

    Returns
    -------
    pathlib.Path
        `out`. The same input gives the same bytes.

    Raises
    ------
    ConfigError
        If `out` has another suffix, or nothing in `path` has a concept.
    DataError
        If `path` cannot be read.
    """
    if out.suffix.lower() not in _SUFFIXES:
        msg = f"picture must end with {', '.join(_SUFFIXES)}; got {out.name}."
        raise ConfigError(msg)
    cells = coverage_cells(coverage(path))
    if not cells:
        msg = f"picture must be of a data set with concepts; no code of {path} stands for one."
        raise ConfigError(msg)
    if out.suffix.lower() == ".png":
        from sojourn.report.coverage_image import coverage_image

        return coverage_image(cells, coverage_groups(), out)
    figure = coverage_figure(cells, groups=coverage_groups(), standalone=out.suffix.lower() == ".svg")
    with atomic_file(out) as part:
        part.write_text(
            figure if out.suffix.lower() == ".svg" else _page(path.resolve().name, figure), encoding="utf-8"
        )
    return out


def coverage_cells(table: pl.DataFrame) -> list[CoverageCell]:
    """The rows of `sojourn.concepts.coverage.coverage` as cells of the figure."""
    return [
        CoverageCell(
            row["concept"],
            row["site"],
            row["unit"] or "",
            row["rate"],
            math.nan if row["median"] is None else row["median"],
            row["num_events"],
            row["num_subjects"],
            row["decision"] or "",
            row["num_refused"],
        )
        for row in table.iter_rows(named=True)
    ]


def coverage_groups() -> list[tuple[str, list[str]]]:
    """Concepts by kind, in the order of the table of concepts."""
    table = concept_table()
    return [
        (kind, table.filter(pl.col("kind") == kind)["name"].to_list())
        for kind in table["kind"].unique(maintain_order=True)
    ]


def _page(name: str, figure: str) -> str:
    """A page with nothing but the figure."""
    title = f"Concepts by site: {clean(name)}"
    css = f"body{{margin:16px;background:Canvas;color:CanvasText;font-family:system-ui,sans-serif}}{style_sheet()}"
    head = f'<meta charset="utf-8"><title>{title}</title><style>{css}</style>'
    return f"<!doctype html><html lang='en'><head>{head}</head><body><h1>{title}</h1>{figure}</body></html>\n"
