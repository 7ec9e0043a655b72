"""Which codes a model knows: rare ones fall back to their parents, unseen ones to `//unknown` of theirs."""

from collections.abc import Collection, Mapping

from sojourn.events import codes as grammar
from sojourn.events.codes import UNKNOWN, ancestors


def fold_rare(
    counts: Mapping[str, int], *, min_count: int, protected: Collection[str] = ()
) -> tuple[dict[str, int], dict[str, str]]:
    """Move the count of each code below `min_count` to its parent, level by level, until it is enough.

    Parameters
    ----------
    counts : mapping of code to its number of events
    min_count : int
    protected : collection of codes that stay whatever their count

    Returns
    -------
    kept : dict
        Entries with the events that they stand for: frequent codes, and parents that rare codes fell back to.
        `//unknown` takes what was too rare on every level.
    folded : dict
        Each rare code and the entry that stands for it.

    Examples
    --------
    >>> fold_rare({"LAB//1//a": 3, "LAB//1//b": 4, "LAB//2//a": 9, "X//1": 1}, min_count=5)
    ({'LAB//2//a': 9, 'LAB//1': 7, '//unknown': 1}, {'LAB//1//a': 'LAB//1', 'LAB//1//b': 'LAB//1', 'X//1': '//unknown'})
    """
    total = {code: count for code, count in counts.items() if count > 0 or code in protected}
    moved: dict[str, str] = {}
    by_depth: dict[int, set[str]] = {}
    for code in total:
        by_depth.setdefault(_depth(code), set()).add(code)
    for depth in range(max(by_depth, default=0), -1, -1):
        for code in sorted(by_depth.get(depth, ())):
            if total[code] >= min_count or code in protected or code == UNKNOWN:
                continue
            above = grammar.parent(code) or UNKNOWN
            total[above] = total.get(above, 0) + total.pop(code)
            moved[code] = above
            by_depth.setdefault(_depth(above), set()).add(above)
    return total, {code: _resolve(code, moved) for code in counts if code in moved}


def limit_codes(
    counts: Mapping[str, int], *, min_count: int, max_codes: int | None, protected: Collection[str] = ()
) -> tuple[dict[str, int], dict[str, str]]:
    """`fold_rare` with the smallest threshold from `min_count` on that leaves `max_codes` entries or fewer."""
    result = fold_rare(counts, min_count=min_count, protected=protected)
    if max_codes is None or _num_entries(result[0]) <= max_codes:
        return result
    # Folding a code removes its entry and makes at most one, so the number of entries falls with the threshold.
    low, high = min_count, sum(counts.values()) + 1
    while low < high:
        middle = (low + high) // 2
        fits = _num_entries(fold_rare(counts, min_count=middle, protected=protected)[0]) <= max_codes
        low, high = (low, middle) if fits else (middle + 1, high)
    return fold_rare(counts, min_count=low, protected=protected)


def unknown_entries(kept: Collection[str]) -> set[str]:
    """`<parent>//unknown` for every level above every entry, and `//unknown` itself."""
    return {UNKNOWN} | {above + UNKNOWN for code in kept for above in ancestors(code)}


def unknown_of(code: str, known: Collection[str]) -> str:
    """The entry for a code that was never seen: `//unknown` of its nearest level that has one.

    Examples
    --------
    >>> unknown_of("LAB//9//mg", {"LAB//unknown", "//unknown"}), unknown_of("NEW//9", {"//unknown"})
    ('LAB//unknown', '//unknown')
    """
    return next((above + UNKNOWN for above in ancestors(code) if above + UNKNOWN in known), UNKNOWN)


def _num_entries(kept: Mapping[str, int]) -> int:
    """Entries besides `//unknown`."""
    return len(kept) - (UNKNOWN in kept)


def _depth(code: str) -> int:
    """Number of levels above a code; `//unknown` is above all."""
    return -1 if code == UNKNOWN else sum(1 for _ in ancestors(code))


def _resolve(code: str, moved: Mapping[str, str]) -> str:
    """Follow the moves to the entry where they end."""
    while code in moved:
        code = moved[code]
    return code
