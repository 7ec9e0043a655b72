"""Figures of an evaluation: ROC and precision-recall, reliability, and a forest of sites, one set for each task."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sojourn.report.methods import in_order, look
from sojourn.report.style import INK, RULE, colours_for, figure_style, new_figure, save_figure
from sojourn.tasks.files import Predictions
from sojourn.trust.metrics import precision_recall_curve, roc_curve

if TYPE_CHECKING:
    from sojourn.report.evaluation import Entry

__all__ = ["draw_figures"]

OVERALL = "overall"
_MAX_POINTS = 600
_MAX_SITES = 40


def draw_figures(entries: Sequence["Entry"], predictions: Sequence[Predictions], out: Path) -> list[Path]:
    """Draw the figures of every task of an evaluation.

    Parameters
    ----------
    entries
        Entries of all files; those of a file are together and start with its overall one.
    predictions
        The files in the same order.
    out
        Folder for the PNG files, `<task>-<figure>.png`.

    Returns
    -------
    list[Path]
        The files.
    """
    wholes = [entry for entry in entries if entry.group == OVERALL]
    drawn = []
    with figure_style():
        for task in in_order(entry.task for entry in entries):
            chosen = [(e, p) for e, p in zip(wholes, predictions, strict=True) if e.task == task]
            stem = re.sub(r"[^A-Za-z0-9._-]+", "-", task)
            names = _names([entry for entry, _ in chosen])
            drawn.append(save_figure(_curves(task, chosen, names), out / f"{stem}-curves.png"))
            drawn.append(
                save_figure(_reliability(task, [e for e, _ in chosen], names), out / f"{stem}-reliability.png")
            )
            sites = [entry for entry in entries if entry.task == task and entry.group != OVERALL]
            if sites:
                figure = _forest(task, [*(e for e, _ in chosen), *sites], names)
                drawn.append(save_figure(figure, out / f"{stem}-sites.png"))
    return drawn


def _names(entries: Sequence["Entry"]) -> dict[str, str]:
    """File -> a name that tells it apart from the other files: its method, and the file where two share a method."""
    methods = [entry.method for entry in entries]
    return {
        entry.file: entry.method if methods.count(entry.method) == 1 else f"{entry.method} ({Path(entry.file).stem})"
        for entry in entries
    }


def _label(name: str) -> str:
    """A method's name in words."""
    return look(name).label if "(" not in name else name


def _curves(task: str, chosen: Sequence[tuple["Entry", Predictions]], names: dict[str, str]) -> Any:
    """ROC beside precision-recall, all methods in one."""
    figure = new_figure(8.4, 4.0)
    roc, recall = figure.subplots(1, 2)
    colours = colours_for(list(names.values()))
    roc.plot([0, 1], [0, 1], color=RULE, linewidth=1, zorder=0)
    for entry, found in chosen:
        y = found.table["boolean_value"].to_numpy()
        p = found.table["predicted_boolean_probability"].to_numpy()
        name = names[entry.file]
        if 0 < entry.num_positive < entry.num_predictions:
            text = f"{_label(name)}  {entry.metrics['auroc'].value:.3f}"
            roc.plot(*_thinned(*roc_curve(y, p)), color=colours[name], label=text)
            text = f"{_label(name)}  {entry.metrics['auprc'].value:.3f}"
            recall.plot(*_thinned(*precision_recall_curve(y, p)), color=colours[name], label=text)
    recall.axhline(chosen[0][0].prevalence, color=RULE, linewidth=1, zorder=0)
    roc.set(title=f"{task}: ROC", xlabel="False-positive rate", ylabel="True-positive rate")
    recall.set(title="Precision and recall", xlabel="Recall (sensitivity)", ylabel="Precision (PPV)")
    for axes, place in ((roc, "lower right"), (recall, "upper right")):
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc=place, title="Area")
    return figure


def _reliability(task: str, entries: Sequence["Entry"], names: dict[str, str]) -> Any:
    """Observed against predicted on axes that end where the bins end."""
    figure = new_figure(5.0, 4.4)
    axes = figure.subplots()
    colours = colours_for(list(names.values()))
    top = 0.02
    for entry in entries:
        points = entry.reliability
        x, y = (np.array([getattr(point, key) for point in points]) for key in ("mean_predicted", "observed"))
        limits = np.array([[point.lower, point.upper] for point in points])
        top = max(top, float(x.max()), float(y.max()))
        name = names[entry.file]
        ratio = entry.metrics["expected_observed"].value
        text = _label(name) + (f"  E:O {ratio:.2f}" if np.isfinite(ratio) else "")
        axes.plot(x, y, color=colours[name], marker="o", markersize=4, label=text)
        axes.vlines(x, limits[:, 0], limits[:, 1], color=colours[name], linewidth=1, alpha=0.6)
    top = min(1.0, top * 1.15)
    axes.plot([0, top], [0, top], color=RULE, linewidth=1, zorder=0)
    axes.set(xlim=(0, top), ylim=(0, top), title=f"{task}: calibration")
    axes.set(xlabel="Predicted probability", ylabel="Observed share (95 % Wilson)")
    axes.legend(loc="upper left")
    return figure


def _forest(task: str, entries: Sequence["Entry"], names: dict[str, str]) -> Any:
    """AUROC and E:O of every site with intervals, the whole on top; the sites with most predictions where many."""
    size = {e.group: e.num_predictions for e in entries if e.group != OVERALL}
    sites = sorted(sorted(size, key=lambda site: -size[site])[:_MAX_SITES])
    groups = [OVERALL, *sites]
    figure = new_figure(8.4, 1.6 + 0.3 * len(groups))
    left, right = figure.subplots(1, 2, sharey=True)
    colours = colours_for(list(names.values()))
    step = 0.6 / max(len(names), 1)
    for axes, metric in ((left, "auroc"), (right, "expected_observed")):
        for nth, (file, name) in enumerate(names.items()):
            mine = {entry.group: entry.metrics[metric] for entry in entries if entry.file == file}
            place = np.array([row + (nth - (len(names) - 1) / 2) * step for row in range(len(groups))])
            found = np.array([[getattr(mine[g], k) if g in mine else np.nan for k in _LIMITS] for g in groups])
            axes.hlines(place, found[:, 1], found[:, 2], color=colours[name], linewidth=1.2)
            axes.plot(found[:, 0], place, "o", color=colours[name], markersize=4, label=_label(name))
        axes.axvline(0.5 if metric == "auroc" else 1.0, color=INK, linewidth=0.8, zorder=0)
    left.set(title=f"{task}: sites", xlabel="AUROC (95 %)", yticks=range(len(groups)))
    left.set_yticklabels([f"{g} (n={size[g]:,})" if g in size else g for g in groups])
    left.invert_yaxis()
    right.set(xlabel="Expected : observed (95 %)", xscale="log")
    _plain_ratios(right)
    right.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


_LIMITS = ("value", "lower", "upper")


def _plain_ratios(axes: Any) -> None:
    """Write ratios as numbers, not as powers of ten."""
    low, high = axes.get_xlim()
    ticks = [tick for tick in (0.1, 0.2, 0.33, 0.5, 0.8, 1, 1.25, 2, 3, 5, 10) if low <= tick <= high]
    axes.set_xticks(ticks or [1], labels=[f"{tick:g}" for tick in ticks or [1]])
    axes.set_xticks([], minor=True)


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Some hundred points of a curve, its ends included, closer together at its start, where it is steep."""
    if x.size <= _MAX_POINTS:
        return x, y
    even, growing = np.linspace(0, x.size - 1, _MAX_POINTS), np.geomspace(1, x.size, _MAX_POINTS) - 1
    kept = np.unique(np.concatenate([even, growing]).round().astype(int))
    return x[kept], y[kept]
