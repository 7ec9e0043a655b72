"""The report's figures: each function takes plain data and returns one SVG as text."""

from sojourn.report.figures.coverage import CoverageCell, coverage_figure
from sojourn.report.figures.forest import forest_figure, site_forest_figure
from sojourn.report.figures.learning import learning_figure
from sojourn.report.figures.pit import pit_figure
from sojourn.report.figures.reliability import reliability_figure, site_reliability_figure
from sojourn.report.figures.timeline import timeline_figure

__all__ = [
    "CoverageCell",
    "coverage_figure",
    "forest_figure",
    "learning_figure",
    "pit_figure",
    "reliability_figure",
    "site_forest_figure",
    "site_reliability_figure",
    "timeline_figure",
]
