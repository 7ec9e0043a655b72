"""Scores of the few-shot benchmark, with intervals over draws of labels and over test stays, and their figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sojourn.report.style import CONTROL, INK, OURS, PALETTE, figure_style, new_figure, save_figure
from sojourn.trust.metrics import RankedPredictions, auroc, expected_observed, log_loss

NUM_BOOTSTRAP = 500
LOOKS = {
    "zero-shot": (OURS, "--", "Sojourn, zero-shot (no labels)"),
    "fine-tuned": (OURS, "-", "Sojourn, fine-tuned"),
    "fine-tuned-lora": ("#56a8c4", "-", "Sojourn, fine-tuned, low rank"),
    "probe": (PALETTE[4], "-", "logistic on states"),
    "probe-trees": (PALETTE[3], "-", "LightGBM on states"),
    "probe-table": (PALETTE[5], "-", "logistic on states and hand features"),
    "probe-trees-table": (PALETTE[2], "-", "LightGBM on states and hand features"),
    "lightgbm": (PALETTE[1], "-", "LightGBM on hand features"),
    "logistic": (PALETTE[6], "-", "logistic on hand features"),
    "lightgbm-others": (CONTROL, ":", "LightGBM, all labels of other hospitals"),
}
"""Colour, line and words of each method."""


def score(test: pl.DataFrame, risks: Sequence[np.ndarray], seed: int = 0) -> dict[str, Any]:
    """Mean over draws of AUROC, log-loss and expected:observed; 95 % interval of the mean AUROC.

    Each replicate draws as many draws of labels, and as many test stays, as there are, with replacement.
    """
    y = test["boolean_value"].to_numpy().astype(np.float64)
    cluster = np.unique(test["subject_id"].to_numpy(), return_inverse=True)[1]
    ranked = [RankedPredictions(y, np.asarray(risk, dtype=np.float64)) for risk in risks]
    rng = np.random.default_rng(seed)
    replicates = []
    for _ in range(NUM_BOOTSTRAP):
        weight = np.bincount(rng.integers(0, cluster.max() + 1, cluster.max() + 1), minlength=cluster.max() + 1)
        chosen = rng.integers(0, len(ranked), len(ranked))
        areas = {i: ranked[i].areas(weight[cluster[ranked[i].order]].astype(np.float64))[0] for i in np.unique(chosen)}
        replicates.append(np.mean([areas[i] for i in chosen]))
    by_draw = [auroc(y, risk) for risk in risks]
    lower, upper = np.quantile(replicates, [0.025, 0.975])
    return {
        "num_draws": len(risks),
        "auroc": {"value": float(np.mean(by_draw)), "lower": float(lower), "upper": float(upper)},
        "auroc_by_draw": [round(float(area), 4) for area in by_draw],
        "log_loss": float(np.mean([log_loss(y, risk) for risk in risks])),
        "expected_observed": float(np.mean([expected_observed(y, risk) for risk in risks])),
    }


def draw_figure(studies: dict[str, Any], out: Path) -> Path:
    """One panel per study: AUROC against the number of labelled stays, methods without labels as level lines."""
    with figure_style():
        figure = new_figure(1.4 + 4.6 * len(studies), 5.2)
        panels = figure.subplots(1, len(studies), squeeze=False)[0]
        for axes, (name, study) in zip(panels, studies.items(), strict=True):
            _panel(axes, name, study)
        handles = {t: h for axes in panels for h, t in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=1 + len(studies))
        return save_figure(figure, out)


def _panel(axes: Any, name: str, study: dict[str, Any]) -> None:
    sizes = sorted({row["labels"] for row in study["rows"] if row["labels"]})
    for number, (method, (colour, line, words)) in enumerate(LOOKS.items()):
        rows = sorted((r for r in study["rows"] if r["method"] == method), key=lambda r: r["labels"] or 0)
        if not rows:
            continue
        value = np.array([row["auroc"]["value"] for row in rows])
        if not rows[0]["labels"]:
            axes.axhline(value[0], color=colour, linestyle=line, linewidth=1.4, label=words)
            continue
        # Side by side, so that the intervals of one size can be told apart.
        place = np.array([row["labels"] for row in rows]) * 1.035 ** (number - 5)
        limits = np.array([[row["auroc"]["lower"], row["auroc"]["upper"]] for row in rows])
        axes.plot(place, value, color=colour, linestyle=line, marker="o", markersize=3.5, linewidth=1.4, label=words)
        axes.vlines(place, limits[:, 0], limits[:, 1], color=colour, linewidth=0.9, alpha=0.7)
    axes.axhline(0.5, color=INK, linewidth=0.6)
    axes.set(xscale="log", xlabel="Labelled stays", ylabel="AUROC (95 %)", title=f"{name}: {study['task']}")
    axes.set_xticks(sizes, labels=[f"{size:,}" for size in sizes])
    axes.set_xticks([], minor=True)
