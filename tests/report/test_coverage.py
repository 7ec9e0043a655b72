"""The coverage picture: every cell is there with its figures, sites are in order, files are whole."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from helpers.unit_hospitals import write_hospitals
from sojourn.concepts.coverage import COVERAGE_SCHEMA
from sojourn.concepts.units import infer_units
from sojourn.errors import ConfigError
from sojourn.report.artifacts import RunFolder
from sojourn.report.coverage import coverage_groups, coverage_picture
from sojourn.report.figures.coverage import CoverageCell, coverage_figure, order_concepts, order_sites
from sojourn.report.sections.data import data_section

NAN = float("nan")
SVG = "{http://www.w3.org/2000/svg}"


def cell(concept: str, site: str, rate: float = 1.0, median: float = NAN, **more: object) -> CoverageCell:
    facts = {"unit": "bpm", "num_events": 9, "num_subjects": 6, "decision": "declared"} | more
    return CoverageCell(concept, site, rate=rate, median=median, **facts)  # type: ignore[arg-type]


def tips(svg: str) -> list[str]:
    return [found.text or "" for found in ET.fromstring(svg).iter(f"{SVG}title")][1:]


def rectangles(svg: str) -> list[ET.Element]:
    return [found for found in ET.fromstring(svg).iter(f"{SVG}rect") if found.find(f"{SVG}title") is not None]


def test_every_cell_tells_its_figures() -> None:
    cells = [cell("heart_rate", "a", 24.0, 86.4), cell("heart_rate", "b", 0.1)]
    said = tips(coverage_figure(cells, standalone=True))
    assert said[0] == "heart rate at a: 24 a day, median 86.4 bpm, 9 events of 6 subjects"
    assert "median not told" in said[1]


def test_a_higher_rate_is_a_fuller_colour() -> None:
    svg = coverage_figure(
        [cell("heart_rate", site, rate) for site, rate in zip("abcd", (0.1, 1, 10, 100), strict=True)], standalone=True
    )
    shades = [float(found.get("fill-opacity", 1)) for found in rectangles(svg)]
    assert shades == sorted(shades)
    assert len(set(shades)) == 4


def test_sites_with_most_concepts_come_first() -> None:
    cells = [cell("heart_rate", "b"), cell("heart_rate", "a"), cell("sbp", "a"), cell("sbp", "c", num_events=0)]
    assert order_sites(cells) == ["a", "b", "c"]


def test_concepts_are_grouped_by_kind_and_none_is_lost() -> None:
    cells = [cell("lactate", "a"), cell("heart_rate", "a"), cell("heart_rate", "b"), cell("sbp", "a"), cell("own", "a")]
    found = order_concepts(cells, coverage_groups())
    assert found == [("vital", ["heart_rate", "sbp"]), ("lab", ["lactate"]), ("other", ["own"])]


@pytest.mark.parametrize("num_sites", [1, 6, 30, 126])
def test_names_and_columns_stay_inside_the_drawing(num_sites: int) -> None:
    cells = [cell("heart_rate", f"eicu-{k}", median=80.0 + k) for k in range(num_sites)]
    root = ET.fromstring(coverage_figure(cells, standalone=True))
    width = float(root.get("width", 0))
    assert len(rectangles(ET.tostring(root, encoding="unicode"))) == num_sites
    assert max(float(r.get("x", 0)) + float(r.get("width", 0)) for r in root.iter(f"{SVG}rect")) <= width
    assert min(float(text.get("y", 0)) for text in root.iter(f"{SVG}text")) > 0
    assert width < 1700


def test_unsure_units_are_marked_and_explained() -> None:
    cells = [cell("weight", "a", decision="refused", num_refused=84), cell("weight", "b")]
    svg = coverage_figure(cells, standalone=True)
    assert "values left out: unit not sure (84 values)" in "".join(tips(svg))
    assert "unit not sure" not in "".join(tips(coverage_figure(cells[1:], standalone=True)))


@pytest.fixture
def hospitals(tmp_path: Path) -> Path:
    codes = {"VITAL//hr": ("heart_rate", "bpm", 1.0, 0.0)}
    recorded = {("north", "VITAL//hr"): [70.0, 80.0] * 4, ("<south> & co", "VITAL//hr"): [70.0, 80.0] * 4}
    data = write_hospitals(tmp_path / "hospitals", recorded, codes)
    infer_units(data)
    return data


def test_pictures_are_whole_files_and_the_same_every_time(hospitals: Path, tmp_path: Path) -> None:
    for suffix, begin in ((".svg", b"<svg"), (".html", b"<!doctype html>"), (".png", b"\x89PNG")):
        first = coverage_picture(hospitals, tmp_path / f"one{suffix}").read_bytes()
        assert first.startswith(begin)
        assert coverage_picture(hospitals, tmp_path / f"two{suffix}").read_bytes() == first
    assert b"<south>" not in (tmp_path / "one.svg").read_bytes()


def test_what_cannot_be_drawn_is_refused(hospitals: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must end with \.svg, \.html, \.png; got picture\.pdf"):
        coverage_picture(hospitals, tmp_path / "picture.pdf")
    bare = write_hospitals(
        tmp_path / "bare", {("a", "VITAL//hr"): [1.0]}, {"VITAL//other": ("heart_rate", None, 1.0, 0.0)}
    )
    with pytest.raises(ConfigError, match=r"no code of .* stands for one"):
        coverage_picture(bare, tmp_path / "picture.svg")


def test_the_report_tells_of_units_and_draws_concepts_by_site() -> None:
    found = data_section(run_with(2))
    text = str(found.blocks)
    assert "Units that were not simply taken as declared (1)" in text
    assert "eicu-226" in text
    assert "fits no unit" in text
    assert "heart rate at site-1" in text
    assert "heart rate at" not in str(data_section(run_with(61)).blocks)
    assert "61 sites are too many" in str(data_section(run_with(61)).blocks)


@pytest.mark.parametrize(
    "stored",
    [
        {"datasets": ["mimic", "eicu"]},
        {"inputs": {"datasets": [{"name": "mimic", "files": {"data/0.parquet": "sha"}}, {"name": "eicu"}], "seed": 0}},
    ],
)
def test_the_report_tells_of_the_store_in_words(stored: dict[str, object]) -> None:
    """Runs of earlier versions hold all that their store was built from."""
    run = run_with(1)
    run.data["store"] = {"num_codes": 1234, "num_subjects": 5, **stored}  # type: ignore[index]
    (fold,) = [block for block in data_section(run).blocks if getattr(block, "summary", "") == "The event store"]
    assert fold.blocks[0].rows == (("Data sets", "2: mimic, eicu"), ("Codes", "1,234"), ("Subjects", "5"))


def run_with(num_sites: int) -> RunFolder:
    """A run's artifacts with one refused unit, and heart rates at some sites."""
    odd = {"site": "eicu-226", "code": "WEIGHT", "declared_unit": "kg", "unit": None, "confidence": None}
    odd |= {"num_values": 84, "decision": "refused", "reason": "fits_no_unit"}
    units = {"num_pairs": 9, "declared": 8, "inferred": 0, "mixed": 0, "refused": 1, "overridden": 0, "table": [odd]}
    cells = [cell("heart_rate", f"site-{k}", 24.0, 80.0) for k in range(num_sites)]
    columns: dict[str, list[object]] = {name: [getattr(c, name, 0) for c in cells] for name in COVERAGE_SCHEMA}
    data = {"datasets": [{"name": "eicu", "units": units}], "coverage": columns}
    empty: dict[str, object] = {}
    return RunFolder(
        name="run",
        settings=empty,
        curve=(),
        entries=(),
        evaluations=(),
        data=data,
        fits=empty,
        timeline=empty,
        num_weights=NAN,
        problems=(),
    )
