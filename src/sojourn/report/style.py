"""How every figure of Sojourn looks: one palette, one set of sizes, whole files with the same bytes each time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sojourn.files import atomic_file

__all__ = [
    "CONTROL",
    "INK",
    "OURS",
    "PALETTE",
    "RULE",
    "colour_of",
    "colours_for",
    "figure_style",
    "new_figure",
    "save_figure",
]

#: Colour of Sojourn's own model, first everywhere.
OURS = "#0b6e8f"
#: Colour of text and axes, of thin reference lines, and of controls that should lose.
INK, RULE, CONTROL = "#22303c", "#c5ced6", "#9aa5b1"
#: Colours in the order in which they are given out; told apart by people who see no red or no green.
PALETTE = (OURS, "#d9662b", "#7b5ea7", "#c99a06", "#4f9d69", "#b8436d", "#5b7f95")

_FIXED = {
    "sojourn": OURS,
    "query": OURS,
    "simulate": "#56a8c4",
    "lightgbm": PALETTE[1],
    "logistic": PALETTE[2],
    "prevalence": CONTROL,
    "random-weights": "#6d7781",
    "shuffled-values": "#bfa5a0",
}

_STYLE: dict[str, Any] = {
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": "#e8edf1",
    "grid.linewidth": 0.7,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "text.color": INK,
    "text.parse_math": False,  # a dollar in the name of a site or task is a dollar
    "xtick.color": INK,
    "xtick.labelsize": 8,
    "ytick.color": INK,
    "ytick.labelsize": 8,
}


def colour_of(method: str, index: int = 0) -> str:
    """Colour of a method: fixed for those that recur, else the `index`-th of the rest of the palette.

    Examples
    --------
    >>> colour_of("query") == OURS
    True
    >>> colour_of("something else", 1) == PALETTE[4]
    True
    """
    others = PALETTE[3:]
    return _FIXED.get(method, others[index % len(others)])


def colours_for(methods: list[str]) -> dict[str, str]:
    """One colour for each method; the same methods get the same colours in every figure."""
    unknown = sorted(set(methods) - set(_FIXED))
    return {method: colour_of(method, unknown.index(method) if method in unknown else 0) for method in methods}


@contextmanager
def figure_style() -> Iterator[None]:
    """Set Sojourn's look for the figures drawn inside the block, and nowhere else."""
    with rc_context(_STYLE):
        yield


def new_figure(width: float = 6.0, height: float = 4.0) -> Figure:
    """Make an empty figure of `width` x `height` inches that belongs to no window and no global list."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path, *, dpi: int = 130) -> Path:
    """Write a figure as PNG: the whole file or none, and the same bytes for the same figure."""
    with atomic_file(path) as part:
        figure.savefig(part, format="png", dpi=dpi, metadata={"Software": None})
    return path
