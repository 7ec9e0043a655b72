"""Synthetic artifacts of a run: made-up figures in the shapes that the report reads, for tests and for looking at it.

`python tests/report/synthetic_artifacts.py FOLDER` writes one. None of these figures was measured.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

TASKS = {
    "icu_death": 0.081,
    "vasopressor_start_24h": 0.112,
    "lactate_gt_4_24h": 0.064,
    "creatinine_ge_1p5x_first_24h": 0.093,
    "rrt_start_24h": 0.021,
}
SITES = ("cedar", "elm", "hazel", "juniper", "larch", "rowan")
UNSEEN = "rowan"
_SKILL = {
    "query": 0.0,
    "simulate": -0.012,
    "lightgbm": -0.018,
    "logistic": -0.045,
    "truth": 0.05,
    "random-weights": -0.17,
    "shuffled-values": -0.33,
}
_CODES = (
    ("heart_rate", "Heart rate", "bpm", 96.0, 12.0),
    ("map", "Mean arterial pressure", "mmHg", 68.0, 8.0),
    ("lactate", "Lactate", "mmol/L", 3.1, 0.9),
    ("creatinine", "Creatinine", "mg/dL", 1.6, 0.3),
    ("temperature", "Temperature", "°C", 37.6, 0.5),
    ("spo2", "Oxygen saturation", "%", 95.0, 2.0),
)


def write_synthetic_run(run: Path, *, seed: int = 0, by_site: bool = True) -> Path:
    """Write a whole run folder of synthetic artifacts and return it."""
    rng = np.random.default_rng(seed)
    (run / "artifacts" / "evaluation").mkdir(parents=True)
    (run / "run.yaml").write_text(yaml.safe_dump(synthetic_settings(), sort_keys=False))
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in synthetic_curve(rng)))
    parts = {
        "evaluation/unseen_hospital": synthetic_evaluation(rng, SITES if by_site else ()),
        "data": synthetic_data(),
        "fits": synthetic_fits(rng),
        "timeline": synthetic_timeline(rng),
    }
    for name, content in parts.items():
        (run / "artifacts" / f"{name}.json").write_text(json.dumps(content, indent=1))
    return run


def synthetic_settings() -> dict[str, Any]:
    """Settings as a run might write them."""
    return {
        "config": {
            **{
                "seed": 7,
                "epochs": 10.0,
                "max_steps": 4000,
                "context": 256,
                "instants_per_batch": 4096,
                "learning_rate": 0.002,
            },
            **{"site_dropout": 0.3, "thin_share": 0.0, "precision": "bf16-mixed", "held_out_sites": [UNSEEN]},
            "model": {"d_model": 128, "num_layers": 4, "num_heads": 4, "use_site": True, "d_site": 16, "site_rank": 8},
        },
        "sites": list(SITES[:-1]),
        "outcomes": ["OUTCOME//death", "OUTCOME//lactate_gt_4", "OUTCOME//rrt_start", "OUTCOME//vasopressor_start"],
        "data": {
            "store": "store",
            "fingerprint": "9b1f0c66d2a7e4c1",
            "num_training_subjects": 3_596,
            "num_tuning_subjects": 451,
        },
        "versions": {"sojourn": "0.1.0", "torch": "2.13.0", "python": "3.12.4"},
    }


def synthetic_curve(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl: falling curves with noise."""
    lines = []
    for step in range(10, 4001, 10):
        for split in ("train", "tuning") if step % 200 == 0 else ("train",):
            fall, noise = math.exp(-step / 500), rng.normal(0, 0.02 if split == "train" else 0.004)
            over = 0.03 if split == "tuning" else 0.0
            parts = {
                "nats_gap": 0.62 + 1.2 * fall + noise,
                "nats_code": 1.35 + 3.1 * fall + 2 * noise + over,
                "nats_value": 0.78 + 2.2 * fall + noise + over,
            }
            whole = sum(parts.values())
            line = {"step": step, "epoch": step / 900, "split": split, "nats_per_event": whole, **parts}
            lines.append(
                {
                    **line,
                    "bits_per_event": whole / math.log(2),
                    "query_nats": 0.21 + 0.3 * fall + noise / 2,
                    "seconds": step * 0.09,
                }
            )
    return lines


def synthetic_evaluation(rng: np.random.Generator, sites: tuple[str, ...]) -> dict[str, Any]:
    """Content of an evaluation file: every task, method and group."""
    entries = []
    for i, (task, prevalence) in enumerate(TASKS.items()):
        for group in ("overall", *sites):
            size = 9_600 if group == "overall" else int(rng.integers(900, 2400))
            base = 0.79 + 0.03 * math.sin(i * 2.1) + (0 if group == "overall" else rng.normal(0, 0.015))
            for method, skill in _SKILL.items():
                bend = 1.0 + (0.5 if task.startswith("rrt") else 0.12) * (method != "truth")
                entries.append(_entry(rng, task, method, group, size, prevalence, base + skill, bend))
            entries.append(_entry(rng, task, "prevalence", group, size, prevalence, 0.5, 1.1))
    return {
        "created": "2026-01-01T00:00:00Z",
        "versions": {"sojourn": "0.1.0"},
        "seed": 0,
        "num_bootstrap": 1000,
        "entries": entries,
    }


def _entry(
    rng: np.random.Generator, task: str, method: str, group: str, size: int, prevalence: float, area: float, bend: float
) -> dict[str, Any]:
    """One entry with plausible intervals."""
    half = 0.9 / math.sqrt(size * prevalence)
    risks = prevalence * np.geomspace(0.15, 5.5, 10)
    observed = np.clip(risks / bend + rng.normal(0, 0.15 * np.sqrt(prevalence * risks)), 0, 1)
    counts = (size * np.geomspace(0.22, 0.02, 10)).astype(int)
    errors = 1.96 * np.sqrt(observed * (1 - observed) / np.maximum(counts, 1))

    def estimate(value: float, spread: float) -> dict[str, float]:
        return {"value": value, "lower": value - spread, "upper": value + spread}

    metrics = {
        "auroc": estimate(area, 0.0 if method == "prevalence" else half / 2),
        "auprc": estimate(prevalence + max(area - 0.5, 0) * 0.9, half),
        "log_loss": estimate(-prevalence * math.log(prevalence) * (1.6 - area / 1.2), half / 8),
        "brier": estimate(prevalence * (1 - prevalence) * (1.3 - area / 2), half / 10),
        "calibration_slope": estimate(0.98 - (bend - 1) / 3, half),
        "calibration_intercept": estimate(-0.05 - (bend - 1), half * 2),
        "expected_observed": estimate(bend, half * 1.5),
    }
    reliability = [
        {
            "mean_predicted": float(r),
            "observed": float(o),
            "lower": float(max(o - e, 0)),
            "upper": float(min(o + e, 1)),
            "count": int(n),
        }
        for r, o, e, n in zip(risks, observed, errors, counts, strict=True)
    ]
    return {
        "task": task,
        "method": method,
        "file": f"{method}.parquet",
        "group": group,
        "intervals": "sites and subjects" if group == "overall" else "subjects",
        "num_predictions": size,
        "num_subjects": size // 3,
        "prevalence": prevalence,
        "metrics": metrics,
        "reliability": reliability if method in ("query", "lightgbm", "truth") else [],
    }


def synthetic_data() -> dict[str, Any]:
    """Content of data.json: two data sets with quarantined rows."""
    chart = {
        "table": "chartevents",
        "rows": 668_862,
        "rows_to_events": 668_530,
        "rows_quarantined": 332,
        "events": 668_530,
    }
    labs = {
        "table": "labevents",
        "rows": 107_727,
        "rows_to_events": 107_601,
        "rows_quarantined": 126,
        "events": 107_601,
    }
    return {
        "datasets": [
            {
                "name": "network",
                "source": "simulator",
                "site": None,
                "tables": [
                    {**chart, "reasons": {"time is missing": 301, "value is not a number and no text": 31}},
                    {**labs, "reasons": {"time is missing": 120, "subject is unknown": 6}},
                ],
                "warnings": ["hosp/omr is not there: weights and heights outside the ICU are lost"],
                "num_events": 776_131,
                "num_subjects": 5_200,
                "sites": dict(zip(SITES, (940, 870, 1_120, 760, 810, 700), strict=True)),
            }
        ],
        "store": {
            "num_events": 776_131,
            "num_subjects": 5_200,
            "bytes_per_event": 9.84,
            "codes": 412,
            "fingerprint": "9b1f0c66d2a7e4c1",
        },
    }


def synthetic_fits(rng: np.random.Generator) -> dict[str, Any]:
    """Content of fits.json: nearly flat histograms, one of them biased."""

    def shares(slope: float, hump: float, n: int) -> list[float]:
        x = (np.arange(20) + 0.5) / 20
        wanted = 1 + slope * (x - 0.5) + hump * (x * (1 - x) - 1 / 6)
        return (rng.multinomial(n, wanted / wanted.sum()) / n).tolist()

    values = []
    for i, (code, description, unit, _, _) in enumerate(_CODES):
        n = 24_000 // (i + 1)
        values.append(
            {
                "code": f"CONCEPT//{code}",
                "description": description,
                "unit": unit,
                "pit": shares(0.8 if i == 3 else 0.05, 0.3, n),
                "n": n,
            }
        )
    return {"value": values, "gap": {"pit": shares(-0.1, 0.5, 30_000), "n": 30_000}}


def synthetic_timeline(rng: np.random.Generator) -> dict[str, Any]:
    """Content of timeline.json: a patient at hour 30 with 48 hours of simulated futures."""
    now, ahead = 30.0, np.arange(0, 49, 2.0)
    observed, futures = [], []
    for code, description, unit, centre, spread in _CODES[:5]:
        hours = np.sort(rng.uniform(0, now, 34 if centre > 30 else 8))
        walk = centre + spread * 0.4 * np.cumsum(rng.normal(0, 0.5, len(hours)))
        about = {"code": f"CONCEPT//{code}", "description": description, "unit": unit}
        observed.append({**about, "hours": (hours - now).round(2).tolist(), "values": walk.round(2).tolist()})
        middle = centre + (walk[-1] - centre) * np.exp(-ahead / 12)
        width = spread * np.sqrt(1 - np.exp(-(ahead + 1) / 10))
        quantiles = {
            f"q{q:02d}": (middle + z * width).tolist()
            for q, z in ((5, -1.64), (25, -0.67), (50, 0), (75, 0.67), (95, 1.64))
        }
        futures.append({**about, "hours": ahead.tolist(), **quantiles})
    risks = []
    for name, top in (("death", 0.14), ("vasopressor_start", 0.31), ("lactate_gt_4", 0.22)):
        incidence = top * (1 - np.exp(-ahead / 20))
        sampled = rng.binomial(256, incidence) / 256
        entry = {"outcome": f"OUTCOME//{name}", "hours": ahead.tolist(), "incidence": incidence.tolist()}
        risks.append({**entry, "sampled": np.maximum.accumulate(sampled).tolist()})
    about = {"subject": "chosen subject", "site": UNSEEN, "prediction_hours": now, "num_samples": 256}
    return {**about, "observed": observed, "futures": futures, "risks": risks}


if __name__ == "__main__":
    print(write_synthetic_run(Path(sys.argv[1])))
