"""From prediction files through `evaluate` to the report, with no made-up JSON between."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from sojourn.report.artifacts import read_run
from sojourn.report.evaluation import evaluate
from sojourn.report.html import report
from sojourn.tasks.files import Labels, write_predictions

NUM_SUBJECTS = 240


def write_predictions_of(folder: Path, method: str, noise: float) -> Path:
    """Predictions at two sites of an outcome that a hidden risk decides; `noise` blurs what the method knows of it."""
    rng = np.random.default_rng(5)
    logit = rng.normal(-1.5, 1.2, NUM_SUBJECTS)
    outcome = rng.random(NUM_SUBJECTS) < 1 / (1 + np.exp(-logit))
    guess = 1 / (1 + np.exp(-(logit + noise * rng.normal(0, 1, NUM_SUBJECTS))))
    table = pl.DataFrame(
        {
            "subject_id": np.arange(NUM_SUBJECTS, dtype=np.int64),
            "prediction_time": [datetime(2100, 1, 1) + timedelta(hours=i) for i in range(NUM_SUBJECTS)],
            "boolean_value": outcome,
        },
        schema_overrides={"prediction_time": pl.Datetime("us")},
    )
    path = folder / f"{method}.parquet"
    site = ["near" if i % 3 else "far" for i in range(NUM_SUBJECTS)]
    labels = Labels(table, {"name": "icu_death_24h", "outcomes": ["OUTCOME//icu_death"]})
    write_predictions(path, labels, guess.astype(np.float32), method=method, site=site)
    return path


def test_report_shows_what_evaluate_found(tmp_path: Path) -> None:
    files = [write_predictions_of(tmp_path, method, noise) for method, noise in (("query", 0.1), ("lightgbm", 2.5))]
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.yaml").write_text("config: {held_out_sites: [far]}\nsites: [near]\n")
    evaluation = evaluate(files, run / "artifacts" / "evaluation", by="site", num_bootstrap=40)
    text = report(run, tmp_path / "report.html").read_text(encoding="utf-8")
    far = next(e for e in evaluation.entries if e.group == "far" and e.method == "query")
    found = next(e for e in read_run(run).entries if e.group == "far" and e.method == "query")
    assert found.metrics["auroc"].value == far.metrics["auroc"].value
    assert f"{far.metrics['auroc'].value:.3f} <span" in text
    assert "of hospital <strong>far</strong>, which the model never saw in training" in text
    assert "ICU death, 24\N{NO-BREAK SPACE}h" in text
    assert "1 of 1" in text
