"""CLIF: what was measured, given and set at the bedside."""

import polars as pl

from sojourn.sources.casts import to_number
from sojourn.sources.clif.known import DEVICES, STAY, Known, events_of, with_stay
from sojourn.sources.recipes import Converted, Emit, Recipe, answer, code_for, code_of, label, measured, unit_of

_INVASIVE = "imv"
_NON_INVASIVE = ("nippv", "cpap", "bipap")
_SETTINGS = {
    "fio2_set": "fraction",
    "lpm_set": "L/min",
    "tidal_volume_set": "mL",
    "resp_rate_set": "1/min",
    "pressure_control_set": "cmH2O",
    "pressure_support_set": "cmH2O",
    "flow_rate_set": "L/min",
    "peak_inspiratory_pressure_set": "cmH2O",
    "inspiratory_time_set": "sec",
    "peep_set": "cmH2O",
    "tidal_volume_obs": "mL",
    "resp_rate_obs": "1/min",
    "plateau_pressure_obs": "cmH2O",
    "peak_inspiratory_pressure_obs": "cmH2O",
    "peep_obs": "cmH2O",
    "minute_vent_obs": "L/min",
    "mean_airway_pressure_obs": "cmH2O",
}
"""Numbers of ``respiratory_support`` -> their units in CLIF."""
_DIALYSIS = {
    "blood_flow_rate": "mL/min",
    "pre_filter_replacement_fluid_rate": "mL/hour",
    "post_filter_replacement_fluid_rate": "mL/hour",
    "dialysate_flow_rate": "mL/hour",
    "ultrafiltration_out": "mL",
}
"""Numbers of ``crrt_therapy`` -> their units in CLIF."""


def _lower(column: str) -> pl.Expr:
    return label(pl.col(column).cast(pl.String).str.to_lowercase())


def _vitals(frame: pl.DataFrame, known: Known) -> Converted:
    """One event a row; the category fixes the unit (`temp_c`, `weight_kg`)."""
    frame = with_stay(frame, known)
    value = to_number(pl.col("vital_value"))
    emits = [Emit(code_for("VITAL", _lower("vital_category")), pl.col("recorded_dttm"), value)]
    return events_of(frame, emits, [("no_value", value.is_null())])


def _labs(frame: pl.DataFrame, known: Known) -> Converted:
    """One event a row, when the specimen was taken; the result was known at `lab_result_dttm`."""
    frame = measured(with_stay(frame, known), "lab_value_numeric", "lab_value")
    said = answer(pl.col("_text"), pl.col("_number"))
    code = code_for("LAB", _lower("lab_category"), unit_of(pl.col("reference_unit")), said)
    time = pl.coalesce("lab_collect_dttm", "lab_result_dttm", "lab_order_dttm")
    return events_of(frame, [Emit(code, time, pl.col("_number"), pl.col("_text"), pl.col("_bound"))])


def _continuous(frame: pl.DataFrame, known: Known) -> Converted:
    """A start with its rate at every start, change and confirmation of the rate; an end at a stop or a rate of 0."""
    frame = with_stay(frame, known)
    drug, action, rate = _lower("med_category"), _lower("mar_action_category"), to_number(pl.col("med_dose"))
    stops = (action.is_in(["stop", "stopped", "paused"]) | (rate == 0)).fill_null(value=False)
    time = pl.col("admin_dttm")
    not_given = (action == "not_given").fill_null(value=False)
    emits = [
        Emit(code_for("INFUSION_START", drug, unit_of(pl.col("med_dose_unit"))), time, rate, when=~stops & ~not_given),
        Emit(code_for("INFUSION_END", drug), time, when=stops & ~not_given),
        Emit(code_for("MEDICATION_ADMINISTRATION", drug, "not_given"), time, when=not_given),
    ]
    return events_of(frame, emits)


def _intermittent(frame: pl.DataFrame, known: Known) -> Converted:
    """Single doses; what was not given says so."""
    frame = with_stay(frame, known)
    drug, action = _lower("med_category"), _lower("mar_action_category")
    given = (action == "given").fill_null(value=True)
    dose = to_number(pl.col("med_dose"))
    time = pl.col("admin_dttm")
    emits = [
        Emit(code_for("MEDICATION_ADMINISTRATION", drug, unit_of(pl.col("med_dose_unit"))), time, dose, when=given),
        Emit(code_for("MEDICATION_ADMINISTRATION", drug, action), time, when=~given),
    ]
    return events_of(frame, emits)


def _respiratory(frame: pl.DataFrame, known: Known) -> Converted:
    """Device, mode and every number that a row has; a change of device starts or ends ventilation.

    Changes are those between the rows of a stay in the order of time. Where a stay goes on in the next batch, its last
    device so far is the one before.
    """
    frame = _with_changes(with_stay(frame, known), known)
    time = pl.col("recorded_dttm")
    emits = [
        Emit(code_for("RESPIRATORY_DEVICE", _lower("device_category")), time),
        Emit(code_for("VENTILATOR_MODE", _lower("mode_category")), time),
        *(
            Emit(pl.when(to_number(pl.col(name)).is_not_null()).then(pl.lit(code)), time, to_number(pl.col(name)))
            for name, code in ((name, f"RESPIRATORY//{name}//{unit}") for name, unit in _SETTINGS.items())
        ),
        Emit(pl.lit("RESPIRATORY//tracheostomy"), time, when=pl.col("tracheostomy").cast(pl.String).is_in(_TRUE)),
        *(
            Emit(pl.lit(f"PROCEDURE_{mark.upper()}//{kind}"), time, when=pl.col(f"_{mark}_{kind}"))
            for kind in _KINDS
            for mark in ("start", "end")
        ),
    ]
    return events_of(frame, emits)


_TRUE = ["true", "True", "1", "1.0"]
_KINDS = ("invasive_ventilation", "noninvasive_ventilation")


def _with_changes(frame: pl.DataFrame, known: Known) -> pl.DataFrame:
    """Add `_start_<kind>` and `_end_<kind>`: whether a kind of ventilation begins or ends with a row."""
    device = _lower("device_category")
    kind = (
        pl.when(device == _INVASIVE)
        .then(pl.lit(_KINDS[0]))
        .when(device.is_in(_NON_INVASIVE))
        .then(pl.lit(_KINDS[1]))
        .when(device.is_not_null())
        .then(pl.lit("none"))
    )
    here = frame.select("row", "_stay", "recorded_dttm", _kind=kind).drop_nulls(["_kind", "_stay", "recorded_dttm"])
    earlier = known.devices.join(here, on="_stay", how="semi")
    said = pl.concat([earlier, here]).sort("_stay", "recorded_dttm", "row")
    others = known.devices.join(here, on="_stay", how="anti")
    last = said.unique("_stay", keep="last", maintain_order=True).with_columns(row=pl.lit(None, pl.UInt64))
    known.devices = pl.concat([others, last.select(*DEVICES)])
    said = said.with_columns(_before=pl.col("_kind").shift().over("_stay")).drop_nulls("row")
    changed = pl.col("_before").is_null() | (pl.col("_before") != pl.col("_kind"))
    marks = [
        mark
        for kind in _KINDS
        for mark in (
            ((pl.col("_kind") == kind) & changed).alias(f"_start_{kind}"),
            ((pl.col("_before") == kind) & changed).alias(f"_end_{kind}"),
        )
    ]
    return frame.join(said.select("row", *marks), on="row", how="left", maintain_order="left")


def _assessments(frame: pl.DataFrame, known: Known) -> Converted:
    """Scores with their number; other answers become part of the code."""
    frame = with_stay(frame, known)
    number = to_number(pl.col("numerical_value"))
    chosen = label(pl.col("categorical_value"))
    text = pl.coalesce(pl.col("text_value").cast(pl.String), chosen)
    code = code_for("ASSESSMENT", _lower("assessment_category"), answer(pl.coalesce(chosen, text), number))
    said = pl.coalesce(number.cast(pl.String), text).is_null()
    return events_of(frame, [Emit(code, pl.col("recorded_dttm"), number, text)], [("no_value", said)])


def _crrt(frame: pl.DataFrame, known: Known) -> Converted:
    """Renal replacement runs wherever a row of this table stands: its mode, flows and what was drawn off."""
    frame = with_stay(frame, known)
    time = pl.col("recorded_dttm")
    emits = [
        Emit(code_of("CRRT", _lower("crrt_mode_category")), time),
        *(
            Emit(pl.when(to_number(pl.col(name)).is_not_null()).then(pl.lit(code)), time, to_number(pl.col(name)))
            for name, code in ((name, f"DIALYSIS//{name}//{unit}") for name, unit in _DIALYSIS.items())
        ),
    ]
    return events_of(frame, emits)


def _position(frame: pl.DataFrame, known: Known) -> Converted:
    """Prone or not."""
    frame = with_stay(frame, known)
    code = code_for("POSITION", _lower("position_category"))
    return events_of(frame, [Emit(code, pl.col("recorded_dttm"), text=pl.col("position_name").cast(pl.String))])


_DRUG = (STAY, "med_category", "admin_dttm", "med_dose")

RECIPES = (
    Recipe("vitals", _vitals, (STAY, "recorded_dttm", "vital_category", "vital_value"), (), "vital signs"),
    Recipe(
        "labs",
        _labs,
        (STAY, "lab_collect_dttm", "lab_category", "lab_value"),
        ("lab_result_dttm", "lab_order_dttm", "lab_value_numeric", "reference_unit"),
        "laboratory results",
    ),
    Recipe("medication_admin_continuous", _continuous, _DRUG, ("mar_action_category", "med_dose_unit"), "infusions"),
    Recipe("medication_admin_intermittent", _intermittent, _DRUG, ("mar_action_category", "med_dose_unit"), "doses"),
    Recipe(
        "respiratory_support",
        _respiratory,
        (STAY, "recorded_dttm", "device_category"),
        ("mode_category", "tracheostomy", *_SETTINGS),
        "respiratory support",
    ),
    Recipe(
        "patient_assessments",
        _assessments,
        (STAY, "recorded_dttm", "assessment_category"),
        ("numerical_value", "categorical_value", "text_value"),
        "scores such as the Glasgow coma scale",
    ),
    Recipe(
        "crrt_therapy", _crrt, (STAY, "recorded_dttm"), ("crrt_mode_category", *_DIALYSIS), "renal replacement therapy"
    ),
    Recipe("position", _position, (STAY, "recorded_dttm", "position_category"), ("position_name",), "prone positions"),
)
