"""Facts about stays: which values count."""

import pytest

from helpers.stay_records import HEART, facts
from helpers.task_records import Row

CREATININE = "CONCEPT//creatinine"


def _rows(*values: tuple[float, str, float]) -> list[Row]:
    """A stay of 60 h with these values and nothing else."""
    stay: list[Row] = [(1, 0, "ICU_ADMISSION//MICU"), (1, 60, "ICU_DISCHARGE//ALIVE")]
    return [*stay, *((1, hour, code, value) for hour, code, value in values)]


@pytest.mark.parametrize("task", ["yaib-kidney-function", "yaib-kidney-function-corrected"])
def test_impossible_values_make_no_label_no_baseline_and_no_measured_hour(task: str) -> None:
    rows = _rows(
        *((hour + 0.5, HEART, 9999.0) for hour in range(60)),
        (3.5, CREATININE, -1.0),
        (30, CREATININE, 1.0),
        (36, CREATININE, 88_000.0),
        (40, CREATININE, -7.0),
        (41, CREATININE, 99_999.0),
    )
    found = facts(rows, task).row(0, named=True)
    assert (found["value"], found["baseline_creatinine"]) == (1.0, 1.0)
    assert (found["num_hours"], found["longest_gap"]) == (1, 30)


def test_each_rule_has_limits_of_its_own() -> None:
    # The limits of ricu are 0 to 15 mg/dL for creatinine and 0 to 300/min for heart rate; ours 0.1 to 25 and 10 to 300.
    rows = _rows((10.5, HEART, 0.0), (30, CREATININE, 2.0), (36, CREATININE, 20.0))
    assert facts(rows, "yaib-kidney-function").select("value", "num_hours").row(0) == (2.0, 2)
    assert facts(rows, "yaib-kidney-function-corrected").select("value", "num_hours").row(0) == (11.0, 2)


def test_a_value_at_its_limit_counts() -> None:
    rows = _rows((30, CREATININE, 0.1))  # as a 32-bit number a little more than the 0.1 of the table
    assert facts(rows, "yaib-kidney-function-corrected")["value"].to_list() == pytest.approx([0.1])
