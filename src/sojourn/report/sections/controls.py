"""Controls: what is left of the result without learning, and without the patient."""

from sojourn.report.artifacts import RunFolder, unseen_sites
from sojourn.report.blocks import Block, Section, Table, paragraph
from sojourn.report.figures.forest import auroc
from sojourn.report.formatting import interval_cell, plain_outcome
from sojourn.report.methods import headline_group, look, main_entry, select, tasks_of
from sojourn.report.sections.headline import NO_ESTIMATE
from sojourn.report.sections.missing import missing


def controls_section(run: RunFolder) -> Section:
    """Build the table of controls beside the model."""
    group = headline_group(run.entries, unseen_sites(run))
    rows = []
    for task in tasks_of(run.entries):
        controls = select(run.entries, task=task, group=group, kinds=("control",))
        ours = main_entry(run.entries, task, group, "ours")
        for i, entry in enumerate(controls):
            rows.append(
                (
                    plain_outcome(task) if i == 0 else "",
                    look(entry.method).label,
                    interval_cell(*auroc(entry)),
                    interval_cell(*(auroc(ours) if ours else NO_ESTIMATE)) if i == 0 else "",
                    interval_cell(*entry.metrics.get("log_loss", NO_ESTIMATE), digits=3),
                )
            )
    blocks: list[Block] = [
        paragraph(
            "A result counts only as far as it goes beyond its controls: the same network with <em>random "
            "weights</em>, which has learned nothing, and the trained network with <em>shuffled values</em>: what was "
            "measured and when stays, what it showed is exchanged between events of the same code. What is left then "
            "comes from the habits of measuring."
        )
    ]
    if rows:
        header = ("Outcome", "Control", "Control AUROC", "Sojourn AUROC", "Control log-loss")
        blocks.append(Table("Controls beside the model, with 95 % intervals.", header, tuple(rows), numeric_from=2))
    else:
        blocks.append(missing("controls", run.name))
    return Section("controls", "Controls", blocks)
