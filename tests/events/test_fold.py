"""Folding: nothing is lost on the way up."""

from hypothesis import given
from hypothesis import strategies as st

from sojourn.events.fold import fold_rare, limit_codes, unknown_entries, unknown_of

CODES = st.dictionaries(
    st.lists(st.sampled_from("ABC"), min_size=1, max_size=4).map("//".join), st.integers(0, 30), max_size=30
)


@given(CODES, st.integers(1, 40))
def test_counts_are_kept_and_entries_are_frequent(counts: dict[str, int], min_count: int) -> None:
    kept, folded = fold_rare(counts, min_count=min_count)
    assert sum(kept.values()) == sum(counts.values())
    assert all(count >= min_count for code, count in kept.items() if code != "//unknown")
    assert set(folded.values()) <= set(kept)
    assert not set(folded) & set(kept)
    for code, entry in folded.items():
        assert entry == "//unknown" or code.startswith(entry + "//")


@given(CODES, st.integers(1, 8))
def test_limit_is_kept(counts: dict[str, int], max_codes: int) -> None:
    kept, _ = limit_codes(counts, min_count=2, max_codes=max_codes)
    assert len(set(kept) - {"//unknown"}) <= max_codes
    assert sum(kept.values()) == sum(counts.values())


def test_protected_codes_stay() -> None:
    kept, folded = fold_rare({"OUTCOME//x": 0, "A//b": 1}, min_count=5, protected={"OUTCOME//x"})
    assert kept == {"OUTCOME//x": 0, "//unknown": 1}
    assert folded == {"A//b": "//unknown"}


def test_every_level_above_an_entry_has_an_unknown() -> None:
    assert unknown_entries({"A//b//c", "D"}) == {"//unknown", "A//b//unknown", "A//unknown"}
    known = unknown_entries({"A//b//c"})
    assert unknown_of("A//b//x//y", known) == "A//b//unknown"
    assert unknown_of("Z//b", known) == "//unknown"


def test_empty() -> None:
    assert fold_rare({}, min_count=3) == ({}, {})
