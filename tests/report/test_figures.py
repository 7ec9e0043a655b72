import math
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from helpers.synthetic_artifacts import synthetic_curve, synthetic_fits, synthetic_timeline
from sojourn.report.artifacts import Entry, Estimate, read_run
from sojourn.report.figures import (
    forest_figure,
    learning_figure,
    pit_figure,
    reliability_figure,
    site_forest_figure,
    site_reliability_figure,
    timeline_figure,
)
from sojourn.report.figures.forest import auroc_range
from sojourn.report.figures.pit import pit_panels, unevenness

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("text")]


def test_timeline_is_a_file_of_its_own() -> None:
    timeline = synthetic_timeline(np.random.default_rng(0))
    svg = timeline_figure(timeline)
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert root.find(f"{SVG}style") is not None
    assert root.findtext(f"{SVG}title") == "One patient's timeline with simulated futures"
    assert {"now", "Heart rate", "bpm", "Vasopressor start", "256 simulated futures: median"} <= set(texts(svg))
    assert svg == timeline_figure(timeline)
    assert not re.search(r"(href|src)=|url\(", svg)


def test_timeline_puts_observed_values_left_of_now_and_futures_right_of_it() -> None:
    def heart_rate(hours: list[float], **series: list[float]) -> dict[str, object]:
        return {"code": "CONCEPT//heart_rate", "hours": hours, **series}

    quantiles = {name: [80.0, 90.0] for name in ("q05", "q25", "q50", "q75", "q95")}
    timeline = {
        "prediction_hours": 0.5,
        "observed": [heart_rate([-0.4, 0.0], values=[70.0, 75.0])],
        "futures": [heart_rate([1.0, 24.0], **quantiles)],
    }
    root = ElementTree.fromstring(timeline_figure(timeline))
    now = next(float(node.attrib["x"]) for node in root.iter() if node.text == "now") - 5
    seen = [float(node.attrib["cx"]) for node in root.iter(f"{SVG}circle") if node.attrib["r"] == "2.2"]
    assert [x <= now for x in seen] == [True, True]
    assert seen[1] == pytest.approx(now, abs=0.1)
    median = next(
        n.attrib["d"] for n in root.iter(f"{SVG}path") if n.attrib.get("class") == "l-ours" and "L844" in n.attrib["d"]
    )
    assert float(median.split(" ")[0][1:]) > now


def test_timeline_draws_what_there_is() -> None:
    timeline = synthetic_timeline(np.random.default_rng(2))
    assert "now" in texts(timeline_figure({**timeline, "futures": [], "risks": []}))
    assert "now" in texts(timeline_figure({**timeline, "observed": []}))
    assert "now" not in texts(timeline_figure({**timeline, "observed": [], "futures": []}))
    assert ElementTree.fromstring(timeline_figure({})).tag == f"{SVG}svg"


def test_timeline_survives_gaps_in_its_numbers() -> None:
    timeline = synthetic_timeline(np.random.default_rng(3))
    timeline["futures"][0]["q50"][3] = None
    timeline["observed"][0]["values"][2] = math.nan
    timeline["risks"][0]["sampled"] = timeline["risks"][0]["sampled"][:-2]
    svg = timeline_figure(timeline)
    assert "nan" not in svg
    assert "inf" not in svg


def test_no_figure_draws_outside_of_its_canvas(synthetic_run: Path) -> None:
    run = read_run(synthetic_run)
    figures = [
        forest_figure(run.entries),
        site_forest_figure(run.entries, unseen=["rowan"]),
        reliability_figure(run.entries),
        site_reliability_figure(run.entries),
        learning_figure(run.curve),
        pit_figure(run.fits),
        timeline_figure(run.timeline, standalone=False),
    ]
    for svg in figures:
        root = ElementTree.fromstring(svg)
        width, height = (float(v) for v in root.attrib["viewBox"].split()[2:])
        for node in root:
            for x in ("x", "x1", "x2", "cx"):
                assert -0.5 <= float(node.attrib.get(x, 0)) <= width + 0.5
            for y in ("y", "y1", "y2", "cy"):
                assert -0.5 <= float(node.attrib.get(y, 0)) <= height + 0.5


def test_forest_shows_each_method_with_its_figure(synthetic_run: Path) -> None:
    run = read_run(synthetic_run)
    shown = texts(forest_figure(run.entries))
    assert shown.count("Sojourn, zero-shot") == shown.count("LightGBM") == shown.count("True risk (ceiling)") == 5
    assert "Random weights" not in shown
    assert len([text for text in shown if re.fullmatch(r"0\.\d\d \(0\.\d\d–0\.\d\d\)", text)]) == 30


def test_forest_says_when_an_auroc_was_not_computed() -> None:
    nothing = Estimate(math.nan, math.nan, math.nan)
    entry = Entry("e", "death", "query", "overall", 10, 10, 0.0, {"auroc": nothing}, ())
    assert "not computed" in texts(forest_figure([entry]))


def test_auroc_scale_reaches_down_only_where_needed() -> None:
    assert auroc_range([Estimate(0.8, 0.7, 0.9)]) == (0.48, 1.0)
    assert auroc_range([Estimate(0.4, 0.3, 0.5)]) == pytest.approx((0.28, 1.0))
    assert auroc_range([]) == (0.48, 1.0)


def test_many_sites_keep_the_largest() -> None:
    metrics = {"auroc": Estimate(0.8, 0.7, 0.9)}
    entries = [Entry("e", "death", "query", str(i), float(i), 1, 0.1, metrics, ()) for i in range(1, 61)]
    shown = texts(site_forest_figure(entries))
    assert "60" in shown
    assert "37" in shown
    assert "36" not in shown


def test_names_of_unseen_sites_are_whole() -> None:
    entries = [Entry("e", "death", "query", "hospital-6", 100, 9, 0.1, {"auroc": Estimate(0.8, 0.7, 0.9)}, ())]
    assert "hospital-6 (unseen)" in texts(site_forest_figure(entries, unseen=["hospital-6"]))


def test_learning_curve_tells_bits() -> None:
    # 1.3863 nats are 2 bits
    lines = [{"step": s, "split": "tuning", "nats_per_event": n} for s, n in ((10, 2.0), (20, 1.3862944))]
    assert "last 2.00 bits" in texts(learning_figure(lines))
    whole = learning_figure(synthetic_curve(np.random.default_rng(0)))
    assert len(whole) < 60_000
    assert "Gap: when" in texts(whole)


def test_unevenness_is_the_share_that_would_have_to_move() -> None:
    assert unevenness([0.05] * 20) == pytest.approx(0)
    assert unevenness([1.0] + [0.0] * 19) == pytest.approx(0.95)


def test_pit_panels_put_gaps_first_and_frequent_codes_next() -> None:
    fits = synthetic_fits(np.random.default_rng(0))
    fits["value"].append({"code": "X", "pit": [0.5, None], "n": 9_999_999})
    fits["value"].reverse()
    names = [name for name, *_ in pit_panels(fits)]
    assert names[:3] == ["Time to the next instant", "Heart rate", "Mean arterial pressure"]
    assert "X" not in names
