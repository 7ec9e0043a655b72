"""Task definitions are checked before they are used."""

import pytest

from sojourn.errors import TaskError
from sojourn.tasks.definitions import builtin_tasks, get_task, list_tasks, parse_tasks

GOOD = "tasks: [{name: a, description: d, outcomes: [death], horizon_hours: 24, at: {anchor: record_start, %s}}]"


def test_every_built_in_task_has_outcomes_and_a_description() -> None:
    assert set(list_tasks()) >= {
        "icu-death",
        "death-24h",
        "death-48h",
        "vasopressor-24h",
        "ventilation-24h",
        "rrt-24h",
        "lactate-gt-4-24h",
        "creatinine-1.5x-24h",
        "sepsis-6h",
        "in-hospital-death-48h",
    }
    for task in builtin_tasks().values():
        assert task.description
        assert all(code.startswith("OUTCOME//") for code in task.codes())


def test_an_unknown_task_is_refused_with_those_there_are() -> None:
    with pytest.raises(TaskError, match="death-24h"):
        get_task("deth-24h")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD % "every_hours: 6, offsets_hours: [3]", "exactly one"),
        (GOOD % "first_hours: 6", "exactly one"),
        (GOOD % "every_hours: 0", "every_hours"),
        (GOOD.replace("[death]", "[deth]") % "every_hours: 6", "deth"),
        (GOOD.replace("24", "null") % "every_hours: 6", "until"),
        (GOOD.replace("24", "-1") % "every_hours: 6", "horizon_hours"),
        ("tasks: [", "task definitions"),
    ],
)
def test_a_contradiction_is_refused(text: str, reason: str) -> None:
    with pytest.raises(TaskError, match=reason):
        parse_tasks(text)


def test_a_good_definition_is_read() -> None:
    assert parse_tasks(GOOD % "offsets_hours: [3, 6]")["a"].at.offsets_hours == (3, 6)
