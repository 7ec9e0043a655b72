"""The coverage picture as PNG, for slides and for mail."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sojourn.report.figures.coverage import CoverageCell, order_concepts, order_sites
from sojourn.report.style import INK, OURS, PALETTE, figure_style, new_figure, save_figure

_MARKS = {"inferred": ("o", PALETTE[3]), "mixed": ("^", PALETTE[3]), "refused": ("D", PALETTE[1])}
_MARKS["overridden"] = ("s", PALETTE[3])


def coverage_image(cells: Sequence[CoverageCell], groups: Sequence[tuple[str, Sequence[str]]], out: Path) -> Path:
    """Draw rates as shades and remarkable units as marks; returns `out`.

    Parameters
    ----------
    cells, groups
        As for `sojourn.report.figures.coverage_figure`.
    """
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    sites = order_sites(cells)
    concepts = [concept for _, part in order_concepts(cells, groups) for concept in part]
    place_x, place_y = ({name: k for k, name in enumerate(names)} for names in (sites, concepts))
    rates = np.full((len(concepts), len(sites)), np.nan)
    units: dict[str, str] = {}
    for cell in cells:
        units[cell.concept] = cell.unit
        if cell.rate > 0:
            rates[place_y[cell.concept], place_x[cell.site]] = cell.rate
    with figure_style():
        figure = new_figure(3.4 + 0.11 * max(len(sites), 24), 1.6 + 0.17 * len(concepts))
        axes = figure.add_subplot()
        shades = LinearSegmentedColormap.from_list("rate", ["#e3eff3", OURS])
        image = axes.imshow(rates, aspect="auto", cmap=shades, norm=LogNorm(0.05, 50), interpolation="nearest")
        names = [concept.replace("_", " ").replace("//", " ") for concept in concepts]
        labels = [f"{name} ({units[c]})" if units[c] else name for c, name in zip(concepts, names, strict=True)]
        axes.set_yticks(range(len(concepts)), labels, fontsize=7)
        axes.set_xticks(range(len(sites)), sites, rotation=90, fontsize=6)
        axes.grid(visible=False)
        for kind, (shape, colour) in _MARKS.items():
            chosen = [cell for cell in cells if cell.decision == kind]
            if chosen:
                x, y = (
                    [place[getattr(c, of)] for c in chosen] for place, of in ((place_x, "site"), (place_y, "concept"))
                )
                axes.scatter(
                    x, y, s=12, marker=shape, color=colour, edgecolors=INK, linewidths=0.4, label=f"unit {kind}"
                )
        if axes.get_legend_handles_labels()[1]:
            figure.legend(loc="outside lower left", ncols=4)
        figure.colorbar(image, ax=axes, label="events per subject and day", shrink=0.6, format="%g")
        return save_figure(figure, out)
