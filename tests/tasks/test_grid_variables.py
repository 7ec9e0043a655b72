"""The columns of a grid: names, limits, and what becomes of several values."""

import pytest

from sojourn.concepts import concept_table
from sojourn.errors import ConfigError
from sojourn.tasks.grid_variables import AGGREGATIONS, concept_variables, grid_variables, yaib_variables


def test_the_48_variables_of_yaib_are_concepts_of_ours() -> None:
    known = set(concept_table()["name"])
    variables = yaib_variables()
    assert len(variables) == 48
    assert {concept for variable in variables.values() for concept in variable.concepts} <= known
    assert {variable.aggregation for variable in variables.values()} == {"median", "sum"}
    assert [name for name, variable in variables.items() if variable.aggregation == "sum"] == ["urine"]


def test_abbreviations_are_those_of_the_registry() -> None:
    said = dict(concept_table().drop_nulls("yaib").select("yaib", "name").iter_rows())
    assert {name: variable.concepts[0] for name, variable in yaib_variables().items()} == {
        name: said[name] for name in yaib_variables()
    }


def test_yaibs_limits_are_narrower_than_ours() -> None:
    """`ricu` drops what is rare and true, such as sodium of 170; ours drop what no body can have."""
    ours = {variable.name: variable for variable in grid_variables("yaib")}
    theirs = {variable.name: variable for variable in grid_variables("yaib", yaib_rules=True)}
    assert theirs["na"][3:] == (110, 165)
    assert ours["na"][3:] == (95, 200)
    assert ours["hgb"].high > theirs["hgb"].high
    assert (ours["crea"].aggregation, theirs["crea"].aggregation) == ("last", "median")


def test_a_union_has_the_wider_limits() -> None:
    (both,) = grid_variables(["o2sat"])
    spo2, sao2 = concept_variables()["spo2"], concept_variables()["sao2"]
    assert both.low == min(spo2.low, sao2.low)
    assert both.codes() == ["CONCEPT//spo2", "CONCEPT//sao2"]


def test_every_measured_concept_is_a_column_and_starts_of_drugs_are_not() -> None:
    names = [variable.name for variable in grid_variables(None)]
    assert {"heart_rate", "lactate", "urine_output"} <= set(names)
    assert not [name for name in names if "//" in name]
    assert len(names) == len(set(names))


def test_outputs_add_up() -> None:
    by_name = concept_variables()
    assert by_name["urine_output"].aggregation == "sum"
    assert by_name["creatinine"].aggregation == "last"
    assert by_name["heart_rate"].aggregation == "mean"
    assert {variable.aggregation for variable in by_name.values()} <= set(AGGREGATIONS)


def test_columns_come_in_the_order_asked_for_with_one_aggregation() -> None:
    chosen = grid_variables(["lactate", "crea", "heart_rate"], aggregate="max")
    assert [variable.name for variable in chosen] == ["lactate", "crea", "heart_rate"]
    assert {variable.aggregation for variable in chosen} == {"max"}


@pytest.mark.parametrize("names", [["luck"], ["lactate", "lactate"], "lactate", ["lactate", "luck"]])
def test_a_name_that_is_no_concept_is_refused(names: list[str] | str) -> None:
    with pytest.raises(ConfigError, match="concepts must be"):
        grid_variables(names)


def test_an_unknown_aggregation_is_refused() -> None:
    with pytest.raises(ConfigError, match="aggregate must be one of median"):
        grid_variables(None, aggregate="mode")
