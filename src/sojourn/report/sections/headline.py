"""The headline: what was asked, where, and the few figures that decide."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from sojourn.report.artifacts import Entry, Estimate, RunFolder, taught_tasks, unseen_sites
from sojourn.report.blocks import Block, Section, Table, Tile, Tiles, paragraph
from sojourn.report.figures.forest import auroc
from sojourn.report.formatting import count, interval, interval_cell, percent, plain_outcome
from sojourn.report.methods import LEVELS, OVERALL, headline_group, look, main_entry, select, sites_of, tasks_of
from sojourn.report.sections.missing import missing

EXPECTED_OBSERVED_RANGE = (0.8, 1.25)
"""Range of expected:observed that the report calls calibrated in the large."""
_WORDS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")
NO_ESTIMATE = Estimate(math.nan, math.nan, math.nan)


def headline_section(run: RunFolder) -> Section:
    """Build the headline: a sentence, two key figures and one row for each outcome."""
    unseen = unseen_sites(run)
    group = headline_group(run.entries, unseen)
    tasks = [task for task in tasks_of(run.entries) if main_entry(run.entries, task, group, "ours")]
    if not tasks:
        return Section("headline", "Headline", (missing("evaluation", run.name),))
    blocks: list[Block] = [
        _sentence(run, tasks, unseen, group),
        Tiles(_tiles(run.entries, tasks, group)),
        _table(run.entries, tasks, group, is_taught=bool(taught_tasks(run.settings))),
        *_chance(run.entries, tasks, group),
        *_levels(run.entries, tasks, group),
    ]
    return Section("headline", "Headline", blocks)


def _sentence(run: RunFolder, tasks: Sequence[str], unseen: Sequence[str], group: str) -> Block:
    """Say in words what was asked and where."""
    entries = [entry for task in tasks if (entry := main_entry(run.entries, task, group, "ours"))]
    most = max((e.num_subjects for e in entries if math.isfinite(e.num_subjects)), default=math.nan)
    num = _WORDS[len(tasks)] if len(tasks) < len(_WORDS) else str(len(tasks))
    asked = f"{num} question was" if len(tasks) == 1 else f"{num} questions were"
    subjects = f"up to {count(most)} subjects" if math.isfinite(most) else "the subjects"
    taught = taught_tasks(run.settings)
    where = _where(sites_of(run.entries), unseen, group, training="pre-training" if taught else "training")
    how = Markup(
        "The answers come from the pre-trained model as it is, with no further training for any question "
        "(<em>zero-shot</em>)."
    )
    if taught:
        names = "; ".join(plain_outcome(task) for task in taught)
        how = Markup("The answers come from the model after it was <em>fine-tuned</em> on labels of: {}.").format(names)
    return paragraph(
        "{} asked about {} {}: {}. {}",
        asked,
        subjects,
        where,
        "; ".join(plain_outcome(task) for task in tasks),
        how,
    )


def _where(sites: Sequence[str], unseen: Sequence[str], group: str, *, training: str) -> Markup:
    """Say which hospitals the headline is about, and which of them the model never saw in `training`."""
    new = [site for site in sites if site in unseen]
    names = ", ".join(new[:8]) + (f" and {len(new) - 8} more" if len(new) > 8 else "")
    if group != OVERALL or (len(new) == 1 and len(sites) == 1):
        return Markup("of hospital <strong>{}</strong>, which the model never saw in {}").format(new[0], training)
    if new and len(new) == len(sites):
        return Markup("of <strong>{} hospitals</strong> that the model never saw in {} ({})").format(
            len(new), training, names
        )
    if new:
        return Markup("of {} hospitals, of which the model never saw <strong>{}</strong> in {} ({})").format(
            len(sites), len(new), training, names
        )
    if sites:
        return Markup("of {} hospitals, none of them known to be new to the model").format(len(sites))
    return Markup("that were evaluated without telling their hospitals apart")


def _tiles(entries: Sequence[Entry], tasks: Sequence[str], group: str) -> tuple[Tile, ...]:
    """Count the outcomes at which ours ranks as well as LightGBM, and those that are calibrated in the large."""
    pairs = [
        (main_entry(entries, t, group, "ours"), main_entry(entries, t, group, "baseline", "lightgbm")) for t in tasks
    ]
    compared = [(auroc(a).value, auroc(b).value) for a, b in pairs if a and b]
    compared = [(ours, rival) for ours, rival in compared if math.isfinite(ours) and math.isfinite(rival)]
    ratios = [a.metrics.get("expected_observed", NO_ESTIMATE).value for a, _ in pairs if a]
    ratios = [ratio for ratio in ratios if math.isfinite(ratio)]
    tiles = []
    if compared:
        won = sum(ours >= rival for ours, rival in compared)
        tiles.append(Tile(f"{won} of {len(compared)}", "outcomes ranked at least as well as by LightGBM (AUROC)"))
    if ratios:
        low, high = EXPECTED_OBSERVED_RANGE
        held = sum(low <= ratio <= high for ratio in ratios)
        tiles.append(Tile(f"{held} of {len(ratios)}", f"outcomes with expected:observed between {low} and {high}"))
    return tuple(tiles)


def _table(entries: Sequence[Entry], tasks: Sequence[str], group: str, *, is_taught: bool) -> Table:
    """One row for each outcome: how many, how often, ours, LightGBM, the ceiling where known, expected:observed."""
    has_ceiling = any(main_entry(entries, task, group, "ceiling") for task in tasks)
    ceiling = ("Ceiling AUROC",) if has_ceiling else ()
    start = ("Outcome", "Predictions", "Prevalence", "Sojourn AUROC", f"{_rival_name(entries, tasks, group)} AUROC")
    header = (*start, *ceiling, "Expected: observed", "Remark")
    rows = tuple(_row(entries, task, group, has_ceiling=has_ceiling) for task in tasks)
    together = "at all evaluated hospitals together" if sites_of(entries) else "over all predictions"
    where = together if group == OVERALL else f"at hospital {group}"
    caption = (
        f"{'Risks' if is_taught else 'Zero-shot risks'} {where}, with 95 % intervals. “Misses” marks an AUROC below "
        f"LightGBM's or an expected:observed outside {EXPECTED_OBSERVED_RANGE[0]}–{EXPECTED_OBSERVED_RANGE[1]}, by "
        "point estimate. Predicting the prevalence for everyone has an AUROC of 0.5."
    )
    return Table(caption, header, rows, alert_column=len(header) - 1)


def _chance(entries: Sequence[Entry], tasks: Sequence[str], group: str) -> list[Block]:
    """What expected:observed of the true risks comes to: how far chance alone moves it with so few events."""
    ceilings = {task: main_entry(entries, task, group, "ceiling") for task in tasks}
    ratios = {t: e.metrics.get("expected_observed", NO_ESTIMATE) for t, e in ceilings.items() if e is not None}
    found = [f"{plain_outcome(t)} {interval(*ratio)}" for t, ratio in ratios.items() if math.isfinite(ratio.value)]
    if not found:
        return []
    return [
        paragraph(
            "Few events leave expected:observed to chance. Of the true risks, which nobody can better, it is here: {}.",
            "; ".join(found),
        )
    ]


def _levels(entries: Sequence[Entry], tasks: Sequence[str], group: str) -> list[Block]:
    """What expected:observed comes to where the level was set by how often the hospital looks and treats."""
    found = []
    for task in tasks:
        for entry in select(entries, task=task, group=group, kinds=("ours",)):
            if any(name in entry.method.lower() for name in LEVELS):
                ratio = entry.metrics.get("expected_observed", NO_ESTIMATE)
                found.append(f"{plain_outcome(task)} {interval(*ratio)}")
    if not found:
        return []
    return [
        paragraph(
            "How often a hospital measures sets the level of what shows in a measured value only, and how readily it "
            "treats that of treatments. Told by unlabelled stays of the hospital, with nothing trained, "
            "expected:observed is: {}.",
            "; ".join(found),
        )
    ]


def _rival_name(entries: Sequence[Entry], tasks: Sequence[str], group: str) -> str:
    """Which LightGBM it is, where all outcomes have the same: one that learnt at this hospital is another rival."""
    rivals = [main_entry(entries, task, group, "baseline", "lightgbm") for task in tasks]
    labels = {look(rival.method).label for rival in rivals if rival}
    return labels.pop() if len(labels) == 1 else "LightGBM"


def _row(entries: Sequence[Entry], task: str, group: str, *, has_ceiling: bool) -> tuple[str, ...]:
    """Cells of one outcome."""
    ours = main_entry(entries, task, group, "ours")
    assert ours is not None, "only tasks with an entry of ours are listed"
    rivals = [main_entry(entries, task, group, "baseline", "lightgbm")]
    if has_ceiling:
        rivals.append(main_entry(entries, task, group, "ceiling"))
    ratio = ours.metrics.get("expected_observed", NO_ESTIMATE)
    shown = [interval_cell(*(auroc(entry) if entry else NO_ESTIMATE)) for entry in rivals]
    misses = " and ".join(_misses(ours, rivals[0]))
    return (
        plain_outcome(task),
        count(ours.num_predictions),
        percent(ours.prevalence),
        interval_cell(*auroc(ours)),
        *shown,
        interval_cell(*ratio),
        f"misses: {misses}" if misses else "",
    )


def _misses(ours: Entry, rival: Entry | None) -> list[str]:
    """What of an outcome falls short, in words."""
    found = []
    if rival and auroc(ours).value < auroc(rival).value:
        found.append("ranking")
    ratio = ours.metrics.get("expected_observed", NO_ESTIMATE).value
    if math.isfinite(ratio) and not EXPECTED_OBSERVED_RANGE[0] <= ratio <= EXPECTED_OBSERVED_RANGE[1]:
        found.append("calibration")
    return found
