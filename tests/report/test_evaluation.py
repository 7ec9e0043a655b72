"""An evaluation says the same in JSON, table and figures, and never half of it."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sojourn.errors import DataError, SchemaError
from sojourn.report.evaluation import evaluate
from sojourn.tasks.files import Labels, write_numbers, write_predictions
from sojourn.trust import metrics as m

METRICS = ["auroc", "auprc", "log_loss", "brier", "calibration_slope", "calibration_intercept", "expected_observed"]


def write(path: Path, *, method: str, num_subjects: int = 120, num_sites: int = 3, seed: int = 0) -> Path:
    """Predictions of two times per subject, calibrated, at sites h0, h1, ..."""
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(num_subjects), 2)
    p = 1 / (1 + np.exp(-rng.normal(-1, 1.2, subject.size)))
    table = pl.DataFrame(
        {
            "subject_id": subject,
            "prediction_time": [datetime(2020, 1, 1) + timedelta(hours=12 * (i % 2)) for i in range(subject.size)],
            "boolean_value": rng.random(subject.size) < p,
        }
    )
    labels = Labels(table, {"name": "death-24h", "outcomes": ["OUTCOME//death"], "horizon_hours": 24})
    write_predictions(path, labels, p, method=method, site=[f"h{s % num_sites}" for s in subject])
    return path


@pytest.fixture
def two_files(tmp_path: Path) -> list[Path]:
    return [write(tmp_path / f"{name}.parquet", method=name, seed=i) for i, name in enumerate(["query", "lightgbm"])]


def test_the_json_holds_every_file_group_and_metric(two_files: list[Path], tmp_path: Path) -> None:
    evaluate(two_files, tmp_path / "out", by="site", num_bootstrap=40, seed=3)
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (content["seed"], content["num_bootstrap"]) == (3, 40)
    assert set(content) == {"created", "versions", "seed", "num_bootstrap", "entries"}
    found = [(entry["method"], entry["group"]) for entry in content["entries"]]
    assert found == [(name, group) for name in ("query", "lightgbm") for group in ("overall", "h0", "h1", "h2")]
    for entry in content["entries"]:
        assert list(entry["metrics"]) == sorted(METRICS)
        auroc = entry["metrics"]["auroc"]
        assert auroc["lower"] <= auroc["value"] <= auroc["upper"]
        assert sum(point["count"] for point in entry["reliability"]) == entry["num_predictions"]
        assert set(entry["reliability"][0]) == {"mean_predicted", "observed", "lower", "upper", "count"}


def test_values_are_those_of_the_metrics_and_sites_add_up(two_files: list[Path], tmp_path: Path) -> None:
    result = evaluate(two_files[:1], tmp_path / "out", by="site", num_bootstrap=10)
    table = pl.read_parquet(two_files[0])
    y, p = table["boolean_value"].to_numpy(), table["predicted_boolean_probability"].to_numpy()
    for name, function in m.METRICS.items():
        assert result.entries[0].metrics[name].value == pytest.approx(function(y, p))
    assert sum(entry.num_predictions for entry in result.entries[1:]) == result.entries[0].num_predictions == 240
    assert result.entries[0].num_subjects == 120
    assert result.entries[0].prevalence == pytest.approx(y.mean())


def test_the_table_has_a_row_of_texts_for_each_entry(two_files: list[Path], tmp_path: Path) -> None:
    rows = evaluate(two_files, tmp_path / "out", num_bootstrap=20).table()
    assert [row["method"] for row in rows] == ["query", "lightgbm"]
    assert list(rows[0])[:6] == ["task", "method", "group", "predictions", "subjects", "prevalence"]
    assert list(rows[0])[6:] == METRICS
    assert rows[0]["auroc"].count(",") == 1
    assert all(isinstance(value, str) for row in rows for value in row.values())


def test_figures_are_whole_png_files_with_the_same_bytes_each_time(two_files: list[Path], tmp_path: Path) -> None:
    first = evaluate(two_files, tmp_path / "a", by="site", num_bootstrap=20)
    second = evaluate(two_files, tmp_path / "b", by="site", num_bootstrap=20)
    names = ["death-24h-curves.png", "death-24h-reliability.png", "death-24h-sites.png"]
    assert [path.name for path in first.figures] == names
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [*names, "evaluation.json"]
    for one, other in zip(first.figures, second.figures, strict=True):
        assert one.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert one.read_bytes() == other.read_bytes()


def test_many_sites_widen_the_overall_interval_by_drawing_sites(tmp_path: Path) -> None:
    path = write(tmp_path / "p.parquet", method="query", num_sites=8)
    by_site = evaluate([path], tmp_path / "a", by="site", num_bootstrap=30).entries[0]
    plain = evaluate([path], tmp_path / "b", num_bootstrap=30).entries[0]
    assert (by_site.intervals, plain.intervals) == ("sites and subjects", "subjects")
    assert by_site.metrics["auroc"].value == plain.metrics["auroc"].value
    assert by_site.num_sites == 8


def test_one_class_only_gives_null_and_a_dash(tmp_path: Path) -> None:
    path = write(tmp_path / "p.parquet", method="query")
    pl.read_parquet(path).with_columns(boolean_value=pl.lit(value=False)).write_parquet(path)
    result = evaluate([path], tmp_path / "out", by="site", num_bootstrap=10)
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert content["entries"][0]["metrics"]["auroc"] == {"value": None, "lower": None, "upper": None}
    assert result.table()[0]["auroc"] == "–"
    assert len(result.figures) == 3


def test_two_files_of_one_method_and_name_stay_apart(tmp_path: Path) -> None:
    files = [write(tmp_path / folder / "p.parquet", method="query", seed=seed) for seed, folder in enumerate("ab")]
    result = evaluate(files, tmp_path / "out", num_bootstrap=5)
    assert len({entry.file for entry in result.entries}) == 2
    rows = result.table()
    assert len({row["method"] for row in rows}) == 2
    assert all(row["method"].startswith("query (") for row in rows)


def test_a_second_evaluation_leaves_no_figure_of_the_first(two_files: list[Path], tmp_path: Path) -> None:
    evaluate(two_files, tmp_path / "out", by="site", num_bootstrap=5)
    second = evaluate(two_files, tmp_path / "out", num_bootstrap=5)
    assert sorted((tmp_path / "out").glob("*.png")) == sorted(second.figures)


def test_a_forgotten_folder_is_told_before_anything_is_computed(two_files: list[Path]) -> None:
    with pytest.raises(DataError, match="folder"):
        evaluate(two_files[:1], two_files[1])


def test_two_tasks_have_their_own_figures(tmp_path: Path, two_files: list[Path]) -> None:
    other = tmp_path / "o.parquet"
    frame = pl.read_parquet(two_files[0])
    write_predictions(
        other,
        Labels(frame.select(frame.columns[:3]), {"name": "my task/2"}),
        frame["predicted_boolean_probability"].to_numpy(),
        method="query",
        site=frame["site"],
    )
    result = evaluate([two_files[0], other], tmp_path / "out", num_bootstrap=5)
    assert [path.name for path in result.figures][2:] == ["my-task-2-curves.png", "my-task-2-reliability.png"]


def test_sites_may_be_numbers(tmp_path: Path, two_files: list[Path]) -> None:
    numbered = pl.col("site").str.strip_prefix("h").cast(pl.Int64)
    pl.read_parquet(two_files[0]).with_columns(numbered).write_parquet(tmp_path / "numbered.parquet")
    result = evaluate([tmp_path / "numbered.parquet"], tmp_path / "out", by="site", num_bootstrap=5)
    assert [entry.group for entry in result.entries] == ["overall", "0", "1", "2"]


def test_what_cannot_be_evaluated_is_refused_and_leaves_nothing(tmp_path: Path, two_files: list[Path]) -> None:
    no_site = tmp_path / "no_site.parquet"
    pl.read_parquet(two_files[0]).drop("site").write_parquet(no_site)
    empty = tmp_path / "empty.parquet"
    pl.read_parquet(two_files[0]).clear().write_parquet(empty)
    bad = tmp_path / "bad.parquet"
    pl.read_parquet(two_files[0]).with_columns(predicted_boolean_probability=pl.lit(2.0)).write_parquet(bad)
    out = tmp_path / "out"
    with pytest.raises(DataError, match="site of every row"):
        evaluate([no_site], out, by="site")
    with pytest.raises(DataError, match="at least one prediction"):
        evaluate([empty], out)
    with pytest.raises(SchemaError, match=r"\[0, 1\]"):
        evaluate([bad], out)
    with pytest.raises(DataError, match="at least one file"):
        evaluate([], out)
    with pytest.raises(DataError, match="'site' or None"):
        evaluate(two_files, out, by="hospital")
    assert not out.exists()
    assert evaluate([no_site], out, num_bootstrap=5).entries[0].num_sites == 0


def write_number_file(path: Path, *, num_sites: int = 6) -> Path:
    """Predicted hours that are one too high at every even site, and right at the others."""
    subject = np.arange(60)
    table = pl.DataFrame(
        {
            "subject_id": subject,
            "prediction_time": [datetime(2020, 1, 1)] * subject.size,
            "float_value": (subject // num_sites).astype(np.float32),
        }
    )
    predicted = table["float_value"].to_numpy() + (subject % num_sites % 2 == 0)
    labels = Labels(table, {"name": "yaib-los"})
    write_numbers(path, labels, predicted, method="lightgbm", site=[f"h{s % num_sites}" for s in subject])
    return path


def test_numbers_have_errors_with_intervals_and_stand_apart_from_risks(two_files: list[Path], tmp_path: Path) -> None:
    numbers = write_number_file(tmp_path / "los.parquet")
    result = evaluate([two_files[0], numbers], tmp_path / "out", by="site", num_bootstrap=50)
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert {entry["task"] for entry in content["entries"]} == {"death-24h"}
    whole, *sites = content["numbers"]
    assert [entry["group"] for entry in sites] == [f"h{i}" for i in range(6)]
    assert (whole["task"], whole["method"], whole["file"]) == ("yaib-los", "lightgbm", "los.parquet")
    assert (whole["num_predictions"], whole["num_sites"], whole["intervals"]) == (60, 6, "sites and subjects")
    # Labels are 0 to 9, each six times; half of the rows are one too high.
    assert whole["mean"] == pytest.approx(4.5)
    assert whole["standard_deviation"] == pytest.approx(np.sqrt(8.25))
    values = {name: found["value"] for name, found in whole["metrics"].items()}
    assert values == pytest.approx({"mae": 0.5, "rmse": np.sqrt(0.5), "r2": 1 - 0.5 / 8.25})
    assert whole["metrics"]["mae"]["lower"] < 0.5 < whole["metrics"]["mae"]["upper"]
    assert [entry["metrics"]["mae"]["value"] for entry in sites] == pytest.approx([1, 0, 1, 0, 1, 0])
    assert result.numbers[0].row()["label"] == "4.5 ± 2.87"
    assert all("yaib-los" not in path.name for path in result.figures)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = write_number_file(tmp_path / "los.parquet")
    table = pl.read_parquet(path).with_columns(predicted_float_value=pl.lit(float("nan"), pl.Float32))
    table.write_parquet(path)
    with pytest.raises(SchemaError, match="finite numbers; 60 of 60 rows"):
        evaluate([path], tmp_path / "out")


def test_a_dollar_in_a_name_is_no_formula_and_a_site_is_not_called_overall(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", method="query")
    table = pl.read_parquet(path)
    for name, site in (("dollar", "A$\\frac$"), ("whole", "overall")):
        labels = Labels(table.select("subject_id", "prediction_time", "boolean_value"), {"name": "cost > $5, $_"})
        probability = table["predicted_boolean_probability"].to_numpy()
        write_predictions(tmp_path / name, labels, probability, method="query", site=[site] * len(table))
    assert len(evaluate([tmp_path / "dollar"], tmp_path / "out", by="site", num_bootstrap=5).figures) == 3
    with pytest.raises(DataError, match="must not call a site 'overall'"):
        evaluate([tmp_path / "whole"], tmp_path / "whole-out", by="site", num_bootstrap=5)
