"""How well the predicted distributions of gaps and values fit what came."""

from markupsafe import Markup

from sojourn.report.artifacts import RunFolder
from sojourn.report.blocks import Figure, Section, paragraph
from sojourn.report.figures.pit import pit_figure, pit_panels
from sojourn.report.sections.missing import missing


def fits_section(run: RunFolder) -> Section:
    """Build the PIT histograms."""
    num = len(pit_panels(run.fits))
    if not num:
        return Section("fits", "Value and timing fits", (missing("fits.json", run.name),))
    return Section(
        "fits",
        "Value and timing fits",
        (
            paragraph(
                "For every observed value the model had given a distribution beforehand. The share of that "
                "distribution which lies below the value should be spread evenly over 0 to 1 (the <em>probability "
                "integral transform</em>): then a 90 % interval holds 90 % of the values. A hump in the middle "
                "means distributions that are too wide, high ends mean too narrow, a slope means a bias."
            ),
            Figure(
                Markup(pit_figure(run.fits)),
                "Probability integral transform of the time to the next instant and of the values of frequent "
                "codes. “Uneven by” is the share of observations that would have to move for the histogram to be "
                "flat.",
            ),
        ),
    )
