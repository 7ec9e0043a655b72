"""Orders of drugs, worked by hand."""

from hypothesis import given
from hypothesis import strategies as st

from helpers.task_records import Row, at, table
from sojourn.concepts.derived.axis import HOUR
from sojourn.concepts.derived.prescribed import ENDS, running
from sojourn.concepts.derived.record import read_record

START, STOP = "CONCEPT//antibiotic//start", "CONCEPT//antibiotic//end"


def spans(rows: list[Row], unstopped: int = 72) -> list[tuple[int, float, float]]:
    """Subject, hours of begin and of end."""
    record = read_record(table(rows), [START, STOP, *ENDS])
    sides = [record.axis.events(p, "x") for p in running(record, START, STOP, unstopped=unstopped * HOUR)]
    hours = [[(time - at(0)).total_seconds() / 3600 for time in side["time"]] for side in sides]
    return list(zip(sides[0]["subject_id"], *hours, strict=True))


def order(begin: float, end: float | None, subject: int = 1) -> list[Row]:
    """An order with its stop, or without."""
    stop: list[Row] = [] if end is None else [(subject, end, f"{STOP}//order")]
    return [(subject, begin, f"{START}//order"), *stop]


def test_overlapping_orders_run_until_the_last_of_them_stops() -> None:
    assert spans([*order(0, 100), *order(10, 11), *order(200, 210)]) == [(1, 0, 100), (1, 200, 210)]
    assert spans([*order(0, 10), *order(10, 20)]) == [(1, 0, 20)]
    assert spans(order(5, 5)) == [(1, 5, 5)]


def test_an_order_without_a_stop_runs_for_a_while_after_the_last_start_of_the_hospital_stay() -> None:
    assert spans(order(0, None)) == [(1, 0, 72)]
    assert spans([*order(0, None), *order(50, 60)]) == [(1, 0, 122)]
    discharged: Row = (1, 80, "HOSPITAL_DISCHARGE//HOME")
    assert spans([*order(0, None), discharged, *order(500, 510)]) == [(1, 0, 72), (1, 500, 510)]


def test_subjects_and_stops_without_a_start_do_not_count_for_others() -> None:
    assert spans([(1, 1, f"{STOP}//order"), *order(5, 6), *order(5, 9, subject=2)]) == [(1, 5, 6), (2, 5, 9)]
    assert spans([*order(5, None), *order(5, 9, subject=2)]) == [(1, 5, 77), (2, 5, 9)]
    assert spans([(1, 5, START), (1, 9, STOP)]) == []


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40)), min_size=1, max_size=8))
def test_spans_are_the_union_of_orders_that_all_stop(orders: list[tuple[int, int]]) -> None:
    rows = [row for begin, length in orders for row in order(begin, begin + length)]
    covered = {hour for begin, length in orders for hour in range(begin, begin + length)}
    assert {h for _, begin, end in spans(rows) for h in range(int(begin), int(end))} == covered
