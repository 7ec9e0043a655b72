"""One patient: observed values, simulated futures, and risks read out both ways."""

from markupsafe import Markup

from sojourn.report.artifacts import RunFolder, as_list
from sojourn.report.blocks import Figure, Section, paragraph
from sojourn.report.figures.timeline import timeline_figure
from sojourn.report.formatting import number, significant
from sojourn.report.sections.missing import missing


def patient_section(run: RunFolder) -> Section:
    """Build the patient's timeline."""
    timeline = run.timeline
    if not any(as_list(timeline.get(key)) for key in ("observed", "futures", "risks")):
        return Section("patient", "One patient", (missing("timeline.json", run.name),))
    # a subject's number is shown only where the artifact tells it
    subject = timeline.get("subject")
    hours = number(timeline.get("prediction_hours"))
    since = f", {significant(hours)} hours after the record begins" if hours == hours else ""
    return Section(
        "patient",
        "One patient",
        (
            paragraph(
                "{}{}. Left of <em>now</em> is what was observed; right of it are futures "
                "that the model drew, summed up as their median and the bands that hold 50 % and 90 % of them. They "
                "say what usually follows such a history under the care that such patients got; they do not say "
                "what a treatment would do.",
                f"Subject {subject}" if isinstance(subject, int) else "One subject",
                (f" at hospital {timeline['site']}" if timeline.get("site") else "") + since,
            ),
            Figure(
                Markup(timeline_figure(timeline, standalone=False)),
                "Observed values and simulated futures; below, the risk of each outcome as the query answers it "
                "(solid) and as the share of simulated futures that have it (dashed, with the 95 % range of "
                "Monte-Carlo error). Asking and drawing are trained apart: how far the lines differ says how far the "
                "network agrees with itself.",
            ),
        ),
    )
