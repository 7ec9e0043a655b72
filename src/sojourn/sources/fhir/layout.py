"""The elements of FHIR R4 resources that are read, as types that a line of JSON is decoded to."""

import polars as pl

Elements = dict[str, pl.DataType | type[pl.DataType]]
"""Names of elements -> their types."""

_TEXT = pl.String


def _struct(**fields: pl.DataType | type[pl.DataType]) -> pl.Struct:
    return pl.Struct({name.rstrip("_"): kind for name, kind in fields.items()})


def _many(kind: pl.DataType) -> pl.List:
    return pl.List(kind)


CODING = _struct(system=_TEXT, code=_TEXT, display=_TEXT)
CONCEPT = _struct(coding=_many(CODING), text=_TEXT)
REFERENCE = _struct(reference=_TEXT)
PERIOD = _struct(start=_TEXT, end=_TEXT)
QUANTITY = _struct(value=pl.Float64, comparator=_TEXT, unit=_TEXT, code=_TEXT)
_IDENTIFIER = _struct(system=_TEXT, value=_TEXT, type=CONCEPT)
VALUES: Elements = {
    "valueQuantity": QUANTITY,
    "valueCodeableConcept": CONCEPT,
    "valueString": _TEXT,
    "valueInteger": pl.Float64,
    "valueBoolean": pl.Boolean,
    "valueDateTime": _TEXT,
    "dataAbsentReason": CONCEPT,
}
_MEDICATION: Elements = {"medicationCodeableConcept": CONCEPT, "medicationReference": REFERENCE}
_PERFORMED: Elements = {"performedDateTime": _TEXT, "performedPeriod": PERIOD}
_EFFECTIVE: Elements = {"effectiveDateTime": _TEXT, "effectivePeriod": PERIOD}
_DOSE = _struct(doseAndRate=_many(_struct(doseQuantity=QUANTITY)))
_FACT = _struct(
    url=_TEXT,
    valueCode=_TEXT,
    extension=_many(_struct(url=_TEXT, valueString=_TEXT, valueCoding=CODING)),
)

ELEMENTS: dict[str, Elements] = {
    "Patient": {
        "identifier": _many(_IDENTIFIER),
        "gender": _TEXT,
        "birthDate": _TEXT,
        "deceasedDateTime": _TEXT,
        "deceasedBoolean": pl.Boolean,
        "maritalStatus": CONCEPT,
        "managingOrganization": REFERENCE,
        "extension": _many(_FACT),
    },
    "Encounter": {
        "status": _TEXT,
        "class": CODING,
        "type": _many(CONCEPT),
        "serviceType": CONCEPT,
        "identifier": _many(_IDENTIFIER),
        "subject": REFERENCE,
        "partOf": REFERENCE,
        "period": PERIOD,
        "location": _many(_struct(location=REFERENCE, period=PERIOD)),
        "hospitalization": _struct(admitSource=CONCEPT, dischargeDisposition=CONCEPT),
        "serviceProvider": REFERENCE,
    },
    "Observation": {
        "status": _TEXT,
        "code": CONCEPT,
        "subject": REFERENCE,
        "encounter": REFERENCE,
        **_EFFECTIVE,
        "effectiveInstant": _TEXT,
        "issued": _TEXT,
        **VALUES,
        "component": _many(_struct(code=CONCEPT, **VALUES)),
        "referenceRange": _many(_struct(low=QUANTITY, high=QUANTITY, text=_TEXT)),
    },
    "MedicationAdministration": {
        "status": _TEXT,
        "subject": REFERENCE,
        "context": REFERENCE,
        **_EFFECTIVE,
        **_MEDICATION,
        "dosage": _struct(
            dose=QUANTITY,
            rateQuantity=QUANTITY,
            rateRatio=_struct(numerator=QUANTITY, denominator=QUANTITY),
            method=CONCEPT,
        ),
    },
    "MedicationRequest": {
        "status": _TEXT,
        "subject": REFERENCE,
        "encounter": REFERENCE,
        "authoredOn": _TEXT,
        **_MEDICATION,
        "dispenseRequest": _struct(validityPeriod=PERIOD),
        "dosageInstruction": _many(_DOSE),
    },
    "MedicationDispense": {
        "status": _TEXT,
        "subject": REFERENCE,
        "context": REFERENCE,
        "whenPrepared": _TEXT,
        "whenHandedOver": _TEXT,
        **_MEDICATION,
        "quantity": QUANTITY,
    },
    "MedicationStatement": {
        "status": _TEXT,
        "subject": REFERENCE,
        "context": REFERENCE,
        **_EFFECTIVE,
        "dateAsserted": _TEXT,
        **_MEDICATION,
    },
    "Procedure": {
        "status": _TEXT,
        "code": CONCEPT,
        "subject": REFERENCE,
        "encounter": REFERENCE,
        **_PERFORMED,
    },
    "Condition": {
        "verificationStatus": CONCEPT,
        "category": _many(CONCEPT),
        "code": CONCEPT,
        "subject": REFERENCE,
        "encounter": REFERENCE,
        "onsetDateTime": _TEXT,
        "recordedDate": _TEXT,
    },
    "Specimen": {
        "status": _TEXT,
        "type": CONCEPT,
        "subject": REFERENCE,
        "collection": _struct(collectedDateTime=_TEXT, collectedPeriod=PERIOD),
    },
    "Medication": {"code": CONCEPT, "identifier": _many(_IDENTIFIER)},
    "Location": {"name": _TEXT, "type": _many(CONCEPT)},
    "Organization": {"name": _TEXT},
}
"""Type of resource -> its elements that are read; others of a line are left out."""

DICTIONARIES = ("Medication", "Location", "Organization")
"""Resources that describe no patient, but what the others refer to."""


def decoded_as(kind: str) -> pl.Struct:
    """Type that a line with a resource of `kind` is decoded to; of an unknown kind only the type is read."""
    return pl.Struct({"resourceType": _TEXT, "id": _TEXT, **ELEMENTS.get(kind, {})})
