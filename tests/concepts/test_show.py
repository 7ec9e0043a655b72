"""What the registry shows of itself."""

import pytest

from sojourn.concepts.show import list_concepts, show_concept
from sojourn.errors import ConfigError


def test_a_concept_is_found_by_its_name_or_that_of_yaib() -> None:
    found = show_concept("crea", "mimic-iv")
    assert (found["name"], found["unit"], found["loinc"]) == ("creatinine", "mg/dL", "2160-0")
    assert {code["source"] for code in found["codes"]} == {"mimic-iv"}
    assert {"LAB//50912//mg/dL", "LAB//52546//mg/dL"} <= {code["code"] for code in found["codes"]}


def test_what_stands_below_a_concept_is_shown_with_it() -> None:
    codes = {code["concept"] for code in show_concept("norepinephrine//start", "eicu")["codes"]}
    assert "norepinephrine//start//ml/hr" in codes


def test_a_source_has_its_own_list() -> None:
    listed = list_concepts("sicdb")["concept"].to_list()
    assert "creatinine" in listed
    assert "gcs_eye" not in listed
    assert list_concepts().height > len(listed)


def test_unknown_names_are_refused_with_a_hint() -> None:
    with pytest.raises(ConfigError, match="Did you mean creatinine"):
        show_concept("creatinin")
    with pytest.raises(ConfigError, match="mimic-iv"):
        list_concepts("mimic")
