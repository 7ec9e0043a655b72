import math
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from sojourn.report.axes import Panel, extent, ticks
from sojourn.report.svg import SERIES, Drawing, shorten, style_sheet, text_width

numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(st.text(), st.text())
def test_any_text_gives_well_formed_xml(title: str, text: str) -> None:
    drawing = Drawing(10, 10, title, text)
    drawing.text(1, 1, text)
    drawing.marker(1, 1, tip=text)
    ElementTree.fromstring(drawing.render(standalone=True).encode("utf-8", "surrogatepass"))


@given(st.lists(st.tuples(numbers, numbers)))
def test_paths_hold_finite_numbers_only(points: list[tuple[float, float]]) -> None:
    drawing = Drawing(10, 10, "t")
    drawing.path(points)
    drawing.area(points, points, role="ours", opacity=0.5)
    svg = drawing.render()
    assert "nan" not in svg
    assert "inf" not in svg


def test_nan_breaks_a_line() -> None:
    drawing = Drawing(10, 10, "t")
    drawing.path([(0, 0), (1, 1), (2, math.nan), (3, 3), (4, 4)])
    assert 'd="M0 0L1 1M3 3L4 4"' in drawing.render()


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 8))
def test_ticks_are_few_round_and_inside(lower: float, width: float, num: int) -> None:
    upper = lower + width
    found = ticks(lower, upper, num)
    slack = 1e-6 * (abs(lower) + width)
    assert all(lower - slack <= tick <= upper + slack for tick in found)
    assert len(found) <= num + 1


def test_ticks_of_an_empty_range_are_none() -> None:
    assert ticks(1, 1) == ticks(2, 1) == ticks(math.nan, 1) == []


def test_extent_of_one_value_has_width() -> None:
    assert extent([3.0, 3.0]) == (2.85, 3.15)
    assert extent([0.0]) == (-0.5, 0.5)


def test_panel_maps_corners() -> None:
    panel = Panel(Drawing(100, 100, "t"), 10, 20, 50, 30, (0.0, 5.0), (-1.0, 1.0))
    assert (panel.at_x(0), panel.at_x(5), panel.at_y(-1), panel.at_y(1)) == (10, 60, 50, 20)


def test_shorten_keeps_what_fits() -> None:
    assert shorten("short", 100) == "short"
    cut = shorten("a very long name of a code indeed", 80)
    assert cut.endswith("…")
    assert text_width(cut) <= 80


def test_style_sheet_colours_every_role_for_light_and_dark() -> None:
    light, _, dark = style_sheet().partition("@media screen and (prefers-color-scheme:dark)")
    for role in (*SERIES, "ink", "faint", "rule", "paper"):
        assert f".l-{role}{{" in light
        assert f".f-{role}{{" in dark
