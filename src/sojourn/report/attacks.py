"""The page that says what attacks found out of rehearsed trainings."""

from pathlib import Path

from markupsafe import Markup

from sojourn.federated.attacks.found import Attacked
from sojourn.federated.attacks.guesses import Guesses
from sojourn.federated.attacks.rehearsal import AttackReport
from sojourn.files import atomic_file
from sojourn.report.blocks import Figure, Section, Table, Tile, Tiles, paragraph
from sojourn.report.figures.attacks import AttackRow, attack_figure
from sojourn.report.formatting import count, fixed
from sojourn.report.html import render
from sojourn.trust.bootstrap import Interval

__all__ = ["attack_page"]


def attack_page(report: AttackReport, out: Path) -> Path:
    """Write the page of a rehearsal: who is found, how much that leaks at least, and which codes an update tells."""
    title = f"Attacks on a training at {report.site}"
    sections = [_who(report), _least(report), _codes(report), _how(report)]
    with atomic_file(out) as part:
        part.write_text(render(title, sections), encoding="utf-8")
    return out


def name_of(training: Attacked) -> str:
    """What a training is called.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> name_of(SimpleNamespace(epsilon=8.0)), name_of(SimpleNamespace(epsilon=None))
    ('epsilon 8', 'without noise')
    """
    return "without noise" if training.epsilon is None else f"epsilon {training.epsilon:g}"


def verdict(found: Interval) -> str:
    """What an interval of an AUROC says of an attack.

    Examples
    --------
    >>> verdict(Interval(0.9, 0.85, 0.95, 100)), verdict(Interval(0.52, 0.45, 0.6, 100))
    ('finds who was trained on', 'not told from chance')
    """
    if found.lower > 0.5:
        return "finds who was trained on"
    return "not told from chance"


def _who(report: AttackReport) -> Section:
    rows = [AttackRow(name_of(one), _limits(one.patients), _limits(one.canaries)) for one in report.trainings]
    tiles = [Tile(fixed(one.patients.value), f"patients, {name_of(one)}") for one in report.trainings]
    table = Table(
        "Who was trained on: AUROC of the attack, and what it says",
        ("training", "bits per event", "patients", "canaries"),
        tuple(
            (name_of(one), fixed(one.bits_per_event), verdict(one.patients), verdict(one.canaries))
            for one in report.trainings
        ),
    )
    said = paragraph(
        "The attacker holds the finished model and a reference model of other patients, and takes for trained on "
        "whoever is likelier under the first. 0.5 is chance. <b>Canaries</b> are made-up patients whose codes come in "
        "an order drawn at random, which can only be learnt by heart."
    )
    figure = Figure(Markup(attack_figure(rows)), "Bars are 95 % intervals over the candidates.")
    return Section("who", "Who was trained on?", (Tiles(tuple(tiles)), said, figure, table))


def _least(report: AttackReport) -> Section:
    table = Table(
        "What was promised, and what the guesses prove at least (95 % confidence)",
        ("training", "epsilon promised", "patients guessed right", "canaries guessed right", "epsilon at least"),
        tuple(
            (
                name_of(one),
                "none" if one.epsilon is None else f"{one.epsilon:g}",
                _right(one.guessed_patients),
                _right(one.guessed_canaries),
                fixed(one.least_epsilon),
            )
            for one in report.trainings
        ),
    )
    said = paragraph(
        "Each candidate was put in or left out by a fair coin, so the share of right guesses bounds the epsilon of the "
        "training from below (Steinke, Nasr, Jagielski 2023). A bound above the promise would be a fault of the code; "
        "a low bound says how these attacks did, not that no other could do better."
    )
    return Section("least", "How much leaked, at least?", (said, table))


def _codes(report: AttackReport) -> Section:
    rows: list[tuple[str, ...]] = []
    for one in report.trainings:
        rows.append((name_of(one),))
        rows += [
            (count(found.patients), fixed(found.auroc), fixed(found.baseline), fixed(found.precision))
            for found in one.codes
        ]
    header = ("patients in the step", "AUROC", "by frequency alone", "right of those named")
    table = Table("Which codes the patients of one step had, told from its update", header, tuple(rows), numeric_from=0)
    said = paragraph(
        "A coordinator sees each site's update by itself. The bias of the code head tells which codes came more often "
        "than expected. Beside it: ranking codes by how frequent they are anywhere, which needs no update."
    )
    return Section("codes", "What does an update tell?", (said, table))


def _how(report: AttackReport) -> Section:
    said = paragraph(
        "{} of the patients of {} were trained on, {} were left out, and {} taught the attacker's reference. Of {} "
        "canaries a coin planted each; half as many others taught the reference. {} steps at the site. This is one "
        "training of each kind: another draw gives other figures.",
        count(report.num_members),
        report.site,
        count(report.num_others),
        count(report.num_reference),
        count(report.num_canaries),
        count(report.num_steps),
    )
    return Section("how", "How it was done", (said,))


def _right(guesses: Guesses) -> str:
    return f"{count(guesses.num_right)} of {count(guesses.num_guessed)}"


def _limits(found: Interval) -> tuple[float, float, float]:
    return (found.value, found.lower, found.upper)
