"""The model: what it is in words, and its settings."""

from collections.abc import Iterator, Mapping
from typing import Any

from sojourn.report.artifacts import RunFolder, as_list, find
from sojourn.report.blocks import Block, Fold, Section, Table, paragraph
from sojourn.report.formatting import count, number, plain_outcome, significant
from sojourn.report.sections.missing import missing

_MAX_ROWS = 400
# What most readers look for first, by the names under which a run may have written it.
_FACTS = (
    ("Layers", "num_layers"),
    ("Width of the backbone", "d_model"),
    ("Attention heads", "num_heads"),
    ("Instants seen at once", "context"),
    ("Site vector in use", "use_site"),
    ("Width of the site vector", "d_site"),
    ("Rank of the site adapters", "site_rank"),
    ("Share of training windows with the site hidden", "site_dropout"),
    ("Share of subjects with measurements hidden (thinning)", "thin_share"),
    ("Training subjects", "num_training_subjects"),
    ("Tuning subjects", "num_tuning_subjects"),
    ("Epochs", "epochs"),
    ("Steps at most", "max_steps"),
    ("Instants in a batch", "instants_per_batch"),
    ("Learning rate", "learning_rate"),
    ("Precision", "precision"),
    ("Seed", "seed"),
)


def model_section(run: RunFolder) -> Section:
    """Build the description of the model."""
    if not run.settings:
        return Section("model", "The model", (missing("run.yaml", run.name),))
    blocks: list[Block] = [
        paragraph(
            "The model reads a record as a sequence of <em>instants</em>: all events of a subject at the same time "
            "are one position of a causal transformer. From the history so far it gives the distribution of the "
            "next instant: <strong>when</strong> it comes (gap), <strong>what</strong> it holds (codes, one after "
            "the other until the instant ends) and <strong>how much</strong> (a density of each value in its own "
            "unit)."
        ),
        paragraph(
            "When and what a hospital measures is its policy and may depend on the site; what a measurement would "
            "show is physiology and is shared. Where the run uses site adapters, they act on gap and code only, "
            "never on values or on risks. <em>Queries</em> answer directly how likely the first event of a kind is "
            "within a time, with no need to simulate."
        ),
    ]
    blocks += _in_words(run)
    found = [(label, find(run.settings, key)) for label, key in _FACTS]
    facts = [(label, _fact(label, value)) for label, value in found if value is not None]
    parameters = find(run.settings, "num_parameters")
    if parameters is not None:
        facts.insert(0, ("Parameters", _fact("Parameters", parameters)))
    elif run.num_weights == run.num_weights:
        facts.insert(0, ("Numbers in model.safetensors (weights and fixed tables)", count(run.num_weights)))
    if facts:
        blocks.append(Table("The run in brief, from run.yaml.", ("Fact", "Value"), tuple(facts)))
    rows = tuple(flatten(run.settings))
    caption = (
        "Everything that run.yaml holds."
        if len(rows) <= _MAX_ROWS
        else f"The first {_MAX_ROWS} of {len(rows)} settings in run.yaml."
    )
    blocks.append(
        Fold(f"All settings ({len(rows)})", (Table(caption, ("Setting", "Value"), rows[:_MAX_ROWS], numeric_from=2),))
    )
    return Section("model", "The model", blocks)


def _fact(label: str, value: Any) -> str:
    """A setting for the brief table; a seed is a name rather than a quantity."""
    return (
        count(value) if isinstance(value, int) and not isinstance(value, bool) and label != "Seed" else _scalar(value)
    )


def _in_words(run: RunFolder) -> list[Block]:
    """Say where the run was trained and which outcomes it learned to answer, as far as run.yaml tells."""
    sites, outcomes = as_list(run.settings.get("sites")), as_list(run.settings.get("outcomes"))
    said = []
    if sites:
        said.append(f"It was trained at {len(sites)} site{'s' if len(sites) > 1 else ''}: {_scalar(sites)}.")
    if held_out := as_list(find(run.settings, "held_out_sites")):
        said.append(f"Held out, neither trained nor tuned on: {_scalar(held_out)}.")
    if outcomes:
        names = "; ".join(plain_outcome(outcome) for outcome in outcomes[:20])
        said.append(
            f"Its queries were trained on the first event of {len(outcomes)} outcomes "
            f"({names}{'; …' if len(outcomes) > 20 else ''})."
        )
    return [paragraph("{}", " ".join(said))] if said else []


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted names and values of nested settings.

    Examples
    --------
    >>> list(flatten({"a": {"b": 1}, "c": [1, 2]}))
    [('a.b', '1'), ('c', '1, 2')]
    """
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{name}.")
        else:
            yield name, _scalar(value)


def _scalar(value: Any) -> str:
    """A setting in words; long lists are cut and counted."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return significant(number(value), 6)
    if isinstance(value, list | tuple):
        shown = ", ".join(_scalar(item) for item in value[:12])
        return shown if len(value) <= 12 else f"{shown} … ({len(value)} in all)"
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {_scalar(v)}" for k, v in value.items()) or "none"
    return str(value)
