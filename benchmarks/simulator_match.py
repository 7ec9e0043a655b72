"""Side by side: measurement rates and value ranges of open ICU data and of the simulator.

    SOJOURN_DATA=... python benchmarks/simulator_match.py --stays 1024 --ceiling 1024 --docs docs/simulator.md

Writes ``benchmarks/results/simulator_match.json`` and, with --docs, replaces the tables between the markers in that
page. Rates are per day of stay in the ICU. YAIB's cohort is on an hourly grid, so its rates cannot pass 24.
"""

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl
from sklearn.metrics import roc_auc_score

from sojourn.files import write_json
from sojourn.sources.simulator import SOURCE, SimulatorConfig, TruthConfig, default_config, write_config
from sojourn.sources.simulator.truth import chunk_risks

START, END = "<!-- simulator_match: begin -->", "<!-- simulator_match: end -->"
YAIB = {
    "heart_rate": "hr", "sbp": "sbp", "dbp": "dbp", "map": "map", "resp_rate": "resp", "spo2": "o2sat",
    "temperature": "temp", "fio2": "fio2", "urine_output": "urine", "lactate": "lact", "creatinine": "crea",
    "bun": "bun", "potassium": "k", "sodium": "na", "bicarbonate": "bicar", "glucose": "glu", "ph": "ph",
    "pco2": "pco2", "po2": "po2", "wbc": "wbc", "hemoglobin": "hgb", "platelets": "plt", "bilirubin_total": "bili",
    "inr": "inr_pt",
}  # fmt: skip
CHARTEVENTS = {
    "heart_rate": [220045], "sbp": [220050, 220179], "dbp": [220051, 220180], "map": [220052, 220181],
    "resp_rate": [220210], "spo2": [220277], "temperature": [223761, 223762], "fio2": [223835],
}  # fmt: skip
LABEVENTS = {
    "lactate": [50813], "creatinine": [50912], "bun": [51006], "potassium": [50971, 50822],
    "sodium": [50983, 50824], "bicarbonate": [50882], "glucose": [50931, 50809], "ph": [50820], "pco2": [50818],
    "po2": [50821], "wbc": [51301], "hemoglobin": [51222, 50811], "platelets": [51265], "bilirubin_total": [50885],
    "inr": [51237],
}  # fmt: skip
GCS, URINE = [220739, 223900, 223901], [226559, 226560, 226627, 226631, 227489]
VASOPRESSORS, VENTILATION, RRT = [221906, 221289, 222315, 221749, 221662], [225792], [225802, 225441, 225803]

Summary = dict[str, Any]


def _describe(values: pl.Series, days: float) -> Summary:
    values = values.drop_nulls().cast(pl.Float64)
    if values.is_empty():
        return {}
    q05, q50, q95 = (values.quantile(q, "linear") for q in (0.05, 0.5, 0.95))
    return {"per_day": len(values) / days, "q05": q05, "q50": q50, "q95": q95}


def yaib(folder: Path) -> Summary:
    """YAIB's length-of-stay cohort of the eICU demo: hourly, at most 7 days, 126 hospitals."""
    dyn = pl.read_parquet(folder / "los" / "eicu_demo" / "dyn.parquet")
    hours = dyn.group_by("stay_id").len()["len"]
    died = pl.read_parquet(folder / "mortality24" / "eicu_demo" / "outc.parquet")["label"]
    return {
        "concepts": {name: _describe(dyn[column], hours.sum() / 24) for name, column in YAIB.items()},
        "stays": {"stays": len(hours), "median_days": hours.median() / 24, "icu_mortality": died.mean()},
    }


def _table(folder: Path, name: str) -> pl.DataFrame:
    parquet = folder / f"{name}.parquet"
    if parquet.exists():
        return pl.read_parquet(parquet)
    return pl.read_csv(folder / f"{name}.csv.gz", infer_schema_length=None, try_parse_dates=True)


def mimic(folder: Path) -> Summary:
    """MIMIC-IV demo: what was charted or drawn during ICU stays."""
    stays, charts = _table(folder / "icu", "icustays"), _table(folder / "icu", "chartevents")
    days = stays["los"].sum()
    labs = (
        _table(folder / "hosp", "labevents")
        .join(stays.select("subject_id", "intime", "outtime"), on="subject_id")
        .filter(pl.col("charttime").is_between("intime", "outtime"))
    )
    concepts = {
        name: _describe(labs.filter(pl.col("itemid").is_in(ids))["valuenum"], days) for name, ids in LABEVENTS.items()
    }
    for name, ids in CHARTEVENTS.items():
        rows = charts.filter(pl.col("itemid").is_in(ids))
        value = pl.when(pl.col("itemid") == 223761).then((pl.col("valuenum") - 32) / 1.8).otherwise(pl.col("valuenum"))
        concepts[name] = _describe(rows.select(value=value)["value"], days)
    parts = charts.filter(pl.col("itemid").is_in(GCS)).group_by("stay_id", "charttime")
    total = parts.agg(pl.col("valuenum").sum(), pl.len()).filter(pl.col("len") == 3)
    concepts["gcs_total"] = _describe(total["valuenum"], days)
    outputs = _table(folder / "icu", "outputevents")
    concepts["urine_output"] = _describe(outputs.filter(pl.col("itemid").is_in(URINE))["value"], days)
    inputs, procedures = _table(folder / "icu", "inputevents"), _table(folder / "icu", "procedureevents")

    def share(rows: pl.DataFrame, ids: list[int]) -> float:
        return rows.filter(pl.col("itemid").is_in(ids))["stay_id"].n_unique() / stays.height

    died = stays.join(_table(folder / "hosp", "admissions"), on="hadm_id")["hospital_expire_flag"]
    return {
        "concepts": concepts,
        "stays": {
            "stays": stays.height, "median_days": stays["los"].median(), "hospital_mortality": died.mean(),
            "vasopressor": share(inputs, VASOPRESSORS), "ventilation": share(procedures, VENTILATION),
            "rrt": share(procedures, RRT),
        },
    }  # fmt: skip


def simulated(config: SimulatorConfig) -> Summary:
    """The simulator, all hospitals together and lactate and heart rate at each."""
    with tempfile.TemporaryDirectory() as folder:
        write_config(config, Path(folder))
        start, busy = time.perf_counter(), time.process_time()
        batches = [batch.events for batch in SOURCE.read(Path(folder), site=None, warn=print)]
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        codes = SOURCE.codes(Path(folder)).select("code", "concept", "scale", "offset")
    events = pl.concat(batches).join(codes, on="code", how="left")
    ends = events.filter(pl.col("code").str.starts_with("ICU_")).group_by("subject_id", "site")
    stays = ends.agg(((pl.col("time").max() - pl.col("time").min()).dt.total_minutes() / 1440).alias("days"))
    value = pl.col("numeric_value") * pl.col("scale") + pl.col("offset")
    by_concept = events.drop_nulls("concept").with_columns(value=value).partition_by("concept", as_dict=True)
    days = stays["days"].sum()
    measuring = {
        name: stays.join(rows.select("site").unique(), on="site")["days"].sum() for (name,), rows in by_concept.items()
    }
    concepts = {str(name): _describe(rows["value"], measuring[name]) for (name,), rows in by_concept.items()}

    def share(concept: str) -> float:
        return by_concept[(concept,)]["subject_id"].n_unique() / stays.height

    def share_of_code(code: str) -> float:
        return events.filter(pl.col("code") == code)["subject_id"].n_unique() / stays.height

    instants = events.drop_nulls("time").group_by("subject_id", "time").len()["len"]
    return {
        "concepts": concepts,
        "stays": {
            "stays": stays.height, "median_days": stays["days"].median(),
            "icu_mortality": share_of_code("ICU_DISCHARGE//DIED"),
            "hospital_mortality": share_of_code("HOSPITAL_DISCHARGE//DIED"),
            "vasopressor": share("norepinephrine//start"), "ventilation": share("ventilation//start"),
            "rrt": share("rrt//start"), "events_per_stay_day": events.height / days,
            "events_per_instant": instants.mean(),
        },
        "events_per_second": events.height / seconds,
        "events_per_cpu_second": events.height / busy,
    }  # fmt: skip


def ceiling(config: SimulatorConfig, stays: int) -> list[Summary]:
    """AUROC of the true risk at the last hospital, among those at risk: nobody can do better from the record."""
    truth = TruthConfig(num_replicates=48, max_stays=stays)
    config, site = config.model_copy(update={"truth": truth}), config.sites[-1]
    jobs = range(-(-min(stays, site.num_stays) // config.chunk_stays))
    risks = pl.concat([chunk_risks(config, site, chunk) for chunk in jobs]).filter("at_risk")
    rows = []
    for (task,), part in risks.group_by("task", maintain_order=True):
        happened, risk = part["happened"].to_numpy(), part["true_risk"].to_numpy()
        rows.append({
            "task": task, "predictions": len(happened), "prevalence": float(happened.mean()),
            "mean_true_risk": float(risk.mean()), "auroc": float(roc_auc_score(happened, risk)),
        })  # fmt: skip
    return rows


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"


def _cells(summary: Summary) -> str:
    if not summary:
        return "- | -"
    return f"{_number(summary['per_day'])} | {' / '.join(_number(summary[q]) for q in ('q05', 'q50', 'q95'))}"


def tables(result: Summary) -> str:
    """Markdown tables for the documentation."""
    sources = [result[name] for name in ("eicu_demo_yaib", "mimic_iv_demo", "simulator")]
    lines = [
        "| concept | eICU demo (YAIB): per day | 5 / 50 / 95 % | MIMIC-IV demo: per day | 5 / 50 / 95 % "
        "| simulator: per day | 5 / 50 / 95 % |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | " + " | ".join(_cells(source["concepts"].get(name, {})) for source in sources) + " |"
        for name in [*YAIB, "gcs_total"]
    ]
    lines += ["", "| per stay | eICU demo (YAIB) | MIMIC-IV demo | simulator |", "|---|---|---|---|"]
    for name in sources[2]["stays"]:
        cells = (source["stays"].get(name) for source in sources)
        lines.append(f"| {name.replace('_', ' ')} | " + " | ".join(_number(cell) for cell in cells) + " |")
    if result["ceiling"]:
        lines += ["", "| at the last hospital | predictions | prevalence | mean true risk | AUROC of the true risk |"]
        lines += ["|---|---|---|---|---|"]
        lines += [
            f"| {row['task']} | {row['predictions']} | {row['prevalence']:.4f} | {row['mean_true_risk']:.4f} "
            f"| {row['auroc']:.3f} |"
            for row in result["ceiling"]
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("SOJOURN_DATA"))
    parser.add_argument("--stays", type=int, default=1000, help="stays per simulated hospital")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ceiling", type=int, default=0, help="stays for the AUROC of the true risks; 0: none")
    parser.add_argument("--docs", type=Path)
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data or set SOJOURN_DATA")
    config = default_config(stays_per_site=options.stays, seed=options.seed)
    result = {
        "eicu_demo_yaib": yaib(Path(options.data) / "yaib-demo"),
        "mimic_iv_demo": mimic(Path(options.data) / "mimic-iv-demo"),
        "simulator": simulated(config),
        "ceiling": ceiling(config, options.ceiling) if options.ceiling else [],
        "seed": options.seed,
        "machine": platform.processor() or platform.machine(),
        "polars": pl.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }
    write_json(Path(__file__).parent / "results" / "simulator_match.json", result)
    text = tables(result)
    print(text)
    print(f"\n{result['simulator']['events_per_second']:,.0f} events/s, busy machines included; ", end="")
    print(f"{result['simulator']['events_per_cpu_second']:,.0f} events per CPU second")
    if options.docs:
        page = options.docs.read_text()
        before, after = page.split(START)[0], page.split(END)[1]
        options.docs.write_text(f"{before}{START}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
