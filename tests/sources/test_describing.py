"""Codes are described by the codes above them."""

import polars as pl

from sojourn.sources.describing import inherit, unit_in
from sojourn.sources.metadata import complete_codes

KNOWN = pl.DataFrame({"code": ["LAB//1", "LAB//1//mg/dL//VEN"], "description": ["Urea", "Urea, venous"]})


def test_the_nearest_description_is_taken_and_units_are_left_out():
    codes = ["LAB//1//mg/dL", "LAB//1//mg/dL//ART", "LAB//1//mg/dL//VEN//HIGH", "LAB//2//mg/dL", "GENDER//F"]
    assert inherit(codes, KNOWN).rows() == [
        ("LAB//1//mg/dL", "Urea", "mg/dL"),
        ("LAB//1//mg/dL//ART", "Urea: ART", None),
        ("LAB//1//mg/dL//VEN//HIGH", "Urea, venous: HIGH", None),
        ("LAB//2//mg/dL", None, "mg/dL"),
        ("GENDER//F", None, None),
    ]


def test_only_measurements_end_with_a_unit():
    assert unit_in("CHART//223761//°F") == "°F"
    assert unit_in("VITAL//respiration//1/min") == "1/min"
    assert unit_in("LAB//g") is None
    assert unit_in("DRG//APR//mg") is None


def test_metadata_describe_every_observed_code():
    codes = complete_codes({"LAB//1//mg/dL", "GENDER//F"}, KNOWN)
    assert codes.select("code", "description", "unit").rows() == [
        ("GENDER//F", None, None),
        ("LAB//1", "Urea", None),
        ("LAB//1//mg/dL", "Urea", "mg/dL"),
    ]
