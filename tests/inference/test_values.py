"""Values asked of the network: ordered quantiles, from the past alone, near what was last seen."""

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from inference.conftest import Toy
from sojourn.errors import TaskError
from sojourn.inference.values import QUANTILES, future_value


def test_quantiles_are_ordered_and_near_the_values_of_the_code(toy: Toy) -> None:
    row = int(toy.at_four.row[0])
    subject = toy.store.subjects.row(row, named=True)
    table = toy.run.vocabulary.table
    code = table.filter(table["has_value"] & ~table["is_static"] & (table["num_values"] > 100))["code"][0]
    at = subject["origin"] + timedelta(hours=4)
    found = future_value(toy.run.path, toy.store.path, subject=subject["subject_id"], at=at, code=code, hours=[0, 1, 6])
    assert found["hours"].to_list() == [0, 1, 6]
    columns = [found[name].to_numpy() for name in QUANTILES]
    assert all((low <= high).all() for low, high in pairwise(columns))
    about = table.row(toy.run.vocabulary.index[code], named=True)
    assert abs(found["q50"][0] - about["loc"]) < 5 * about["scale"]


@pytest.mark.parametrize(("code", "hours"), [("NO//such", [1.0]), ("OUTCOME//death", [1.0])])
def test_codes_without_values_are_refused(toy: Toy, code: str, hours: list[float]) -> None:
    subject = toy.store.subjects.row(int(toy.at_four.row[0]), named=True)
    with pytest.raises(TaskError, match="carries values"):
        future_value(
            Path(toy.run.path),
            toy.store.path,
            subject=subject["subject_id"],
            at=subject["origin"],
            code=code,
            hours=hours,
        )


def test_a_moment_before_the_record_is_refused(toy: Toy) -> None:
    subject = toy.store.subjects.row(int(toy.at_four.row[0]), named=True)
    about = {"subject": subject["subject_id"], "at": subject["origin"] - timedelta(hours=1)}
    with pytest.raises(TaskError, match="before the subject's first event"):
        future_value(toy.run.path, toy.store.path, **about, code="CONCEPT//heart_rate", hours=[1])


def test_nothing_is_asked_about_the_dead(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"code": "CONCEPT//heart_rate", "hours": [1]}
    death, refused = toy.store.vocabulary["code"].to_list().index("MEDS_DEATH"), 0
    for row in toy.at_four.row[:12]:
        subject = toy.store.subjects.row(int(row), named=True)
        if death not in toy.store.subject(int(row)).code:
            continue
        refused += 1
        long_after = subject["origin"] + timedelta(days=60)
        with pytest.raises(TaskError, match="had ended"):
            future_value(toy.run.path, toy.store.path, subject=subject["subject_id"], at=long_after, **asked)
    assert refused
