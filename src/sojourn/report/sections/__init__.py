"""The story that the report tells, one module for each of its parts, in the order in which they are read."""

from collections.abc import Callable

from sojourn.report.artifacts import RunFolder
from sojourn.report.blocks import Section
from sojourn.report.sections.controls import controls_section
from sojourn.report.sections.data import data_section
from sojourn.report.sections.fits import fits_section
from sojourn.report.sections.headline import headline_section
from sojourn.report.sections.learning import learning_section
from sojourn.report.sections.model import model_section
from sojourn.report.sections.patient import patient_section
from sojourn.report.sections.reproduce import reproduce_section
from sojourn.report.sections.risks import risks_section

SECTIONS: tuple[Callable[[RunFolder], Section], ...] = (
    headline_section,
    data_section,
    model_section,
    learning_section,
    risks_section,
    fits_section,
    patient_section,
    controls_section,
    reproduce_section,
)

__all__ = ["SECTIONS"]
