"""Rows as the files of Challenge 2019 have them."""

HEADER_2019 = (
    "HR|O2Sat|Temp|SBP|MAP|DBP|Resp|EtCO2|BaseExcess|HCO3|FiO2|pH|PaCO2|SaO2|AST|BUN|Alkalinephos|Calcium|Chloride|"
    "Creatinine|Bilirubin_direct|Glucose|Lactate|Magnesium|Phosphate|Potassium|Bilirubin_total|TroponinI|Hct|Hgb|PTT|"
    "WBC|Fibrinogen|Platelets|Age|Gender|Unit1|Unit2|HospAdmTime|ICULOS|SepsisLabel"
)


def line_2019(**cells: object) -> str:
    """One row; cells that are not given are NaN."""
    return "|".join(str(cells.get(name, "NaN")) for name in HEADER_2019.split("|"))
