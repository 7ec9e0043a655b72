"""Numbers for subjects and names for sites, where a source has ids of its own kind."""

import hashlib

import polars as pl

_MAX_DIGITS = 18


def subject_numbers(ids: pl.Series) -> pl.DataFrame:
    """Give each id a subject number (i64).

    Ids that are all whole numbers are kept as they are. If any is not, every number is a hash of its id (the first 63
    bits of SHA-256), so that a subject has the same number in every export of its hospital.

    Parameters
    ----------
    ids : ids as text, repeated and null ones allowed.

    Returns
    -------
    DataFrame with `id` (distinct, not null, sorted) and `subject`.

    Examples
    --------
    >>> subject_numbers(pl.Series(["12", "7", "12", None])).rows()
    [('12', 12), ('7', 7)]
    >>> subject_numbers(pl.Series(["12", "x"])).rows()
    [('12', 3866597672918892426), ('x', 1637211439935739938)]
    """
    distinct = ids.cast(pl.String).drop_nulls().unique().sort().rename("id")
    numbers = distinct.str.extract(rf"^(-?\d{{1,{_MAX_DIGITS}}})$").cast(pl.Int64, strict=False)
    # Two spellings of one number, such as 7 and 007, must stay two subjects.
    if numbers.null_count() or not numbers.is_unique().all():
        numbers = pl.Series([hashed(text) for text in distinct], dtype=pl.Int64)
    return pl.DataFrame([distinct, numbers.rename("subject")])


def hashed(text: str) -> int:
    """First 63 bits of the SHA-256 of a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def site_names(names: pl.Expr, *, source: str, site: str | None, num_names: int) -> pl.Expr:
    """Name of the site of each row.

    Parameters
    ----------
    names : name of the hospital, null where it is not known.
    source : name of the source.
    site : what the user calls the site, or None.
    num_names : distinct hospitals in the whole source.

    Returns
    -------
    ``<site or source>-<hospital>``; `site` alone if the user gave it and there is only one hospital.
    """
    base = pl.lit(site or source)
    if site is not None and num_names <= 1:
        return base
    return pl.when(names.is_null()).then(base).otherwise(pl.concat_str(base, names, separator="-"))
