"""The report: one self-contained HTML file that tells the whole story of a run, top down."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sojourn.files import atomic_file, check_target
from sojourn.report.artifacts import read_run
from sojourn.report.blocks import Section
from sojourn.report.sections import SECTIONS
from sojourn.report.svg import style_sheet

__all__ = ["report"]


def report(run: Path, out: Path, *, title: str | None = None) -> Path:
    """Write the report of a run.

    Parameters
    ----------
    run
        Run folder: `run.yaml`, `metrics.jsonl` and `artifacts/`. What is missing is said in its section, with the
        command that makes it.
    out
        The HTML file to write, or a folder (there already, or a name without suffix), which gets `report.html`. An
        earlier report there is replaced.
    title
        Title of the report; the run's name by default.

    Returns
    -------
    pathlib.Path
        The file that was written. The same run folder gives the same bytes.

    Raises
    ------
    RunError
        If `run` holds nothing that a run would leave.
    ConfigError
        If `out` cannot be written.
    """
    path = out / "report.html" if out.is_dir() or not out.suffix else out
    check_target(path, inputs=[run / name for name in ("run.yaml", "metrics.jsonl")])
    content = read_run(run)
    sections = [make(content) for make in SECTIONS]
    page = render(title or f"Sojourn report: {content.name}", sections, content.problems)
    with atomic_file(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def render(title: str, sections: Sequence[Section], problems: Sequence[str] = ()) -> str:
    """Return the page of a report with the given sections; all text is escaped."""
    environment = Environment(
        loader=PackageLoader("sojourn.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.j2")
    return template.render(title=title, sections=sections, problems=problems, figure_css=Markup(style_sheet()))
