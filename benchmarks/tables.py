"""Writes the tables of `benchmarks/README.md` from `results/*.json`: no figure there is typed in.

python benchmarks/tables.py
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tables_sites
import tables_studies
from common import RESULTS, metric

from sojourn.files import atomic_file, read_json

README = RESULTS.parent / "README.md"


def main() -> None:
    """Replace what stands between the marks of each table."""
    text = README.read_text()
    for name, make in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"{README} has no marks for the table {name}")
        table = "\n".join(make())
        text = pattern.sub(lambda found, table=table: f"{found[1]}{table}\n{found[2]}", text)  # type: ignore[misc]
    with atomic_file(README) as part:
        part.write_text(text)


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    yield from ("| " + " | ".join(map(str, row)) + " |" for row in rows)


def _results(names: Sequence[str]) -> dict[str, Any]:
    return {name: read_json(RESULTS / f"{name}.json") for name in names if (RESULTS / f"{name}.json").exists()}


def ablations() -> Iterator[str]:
    """Each arm's bits per event, and the paired difference to the model as it is."""
    rows = []
    found = _results(["ablations_recent_mimic", "ablations_recent", "ablations_mimic", "ablations"]).values()
    for seconds, (data, arms) in ((one["seconds"], item) for one in found for item in one["data"].items()):
        for name, arm in arms.items():
            bits, difference = arm["bits"]["total"], arm["difference"]
            cells = ["" if name == "base" else _signed(difference[p]) for p in ("total", "gap", "code", "value")]
            steps = f"{round(sum(arm['steps']) / len(arm['steps'])):,}"
            whole = f"{bits['value']:.3f} ({bits['lower']:.3f}-{bits['upper']:.3f})"
            sizes = len(arm["seeds"]), steps, f"{arm['num_parameters']:,}"
            rows.append((f"{data}, {seconds:g} s", arm["label"], *sizes, whole, *cells))
    header = ("data", "arm", "seeds", "steps", "weights", "bits per event", "difference", "gap", "code", "value")
    return _table(header, rows)


def scaling() -> Iterator[str]:
    """Both curves: bits per event, the paired difference to the middle, and nats of outcomes."""
    found = _results(["scaling"]).get("scaling", {})
    rows = []
    for name in ("patients", "networks"):
        for line in found.get(name, []):
            bits, nats = line["bits"]["total"], line["query_nats"]
            rows.append(
                (
                    "more patients" if name == "patients" else "larger networks",
                    f"{line['num_subjects_trained']:,}",
                    f"{line['num_parameters']:,}",
                    line["num_seeds"],
                    f"{bits['value']:.3f} ({bits['lower']:.3f}-{bits['upper']:.3f})",
                    _signed(line["difference"]["total"]),
                    f"{sum(nats) / len(nats):.2f}",
                )
            )
    header = ("curve", "patients", "weights", "seeds", "bits per event", "difference to the middle", "nats of outcomes")
    return _table(header, rows)


def _signed(figure: dict[str, float]) -> str:
    return f"{figure['value']:+.3f} ({figure['lower']:+.3f} to {figure['upper']:+.3f})"


def rates() -> Iterator[str]:
    """Speed and memory of ingest and build."""
    found = _results(["ingest_rate"]).get("ingest_rate", {})
    rows = []
    for name in ("mimic-iv-demo", "simulated"):
        if name not in found:
            continue
        line = found[name]
        for step in ("ingest", "build"):
            per_cpu = round(line["num_events"] / line[f"{step}_cpu_s"])
            cells = (f"{line[f'{step}_events_per_s']:,}", f"{per_cpu:,}", f"{line[f'{step}_peak_memory_mb']} MB")
            rows.append((step, name, f"{line['num_events']:,}", *cells))
    return _table(("step", "data", "events", "events/s", "events per CPU second", "peak memory"), rows)


def prepare() -> Iterator[str]:
    """MEDS to ready-to-train, ours beside others; one row for each size and contestant."""
    rows = []
    for found in _results(["prepare_rate"]).get("prepare_rate", {}).values():
        ours = found.get("sojourn", {}).get("events_per_cpu_s")
        for name in ("sojourn", "meds-torch-data", "polars-pass"):
            line = found.get(name, {})
            if "error" in line:
                rows.append((f"{found['num_rows']:,}", name, "failed", "", "", ""))
            elif line:
                rate, memory = line["events_per_cpu_s"], f"{line['peak_memory_mb']} MB"
                times = f"{ours / rate:.2f}" if ours else ""
                rows.append((f"{found['num_rows']:,}", name, f"{rate:,}", memory, line["disk_bytes_per_event"], times))
    header = (
        "events",
        "who",
        "events per CPU second",
        "peak memory",
        "bytes per event",
        "sojourn is so many times as fast",
    )
    return _table(header, rows)


def tokens() -> Iterator[str]:
    """Ours beside a GPT on quantile tokens, in the two languages."""
    rows = []
    for place, language in (("token_rival", "ETHOS"), ("token_rival_short", "and a token below 5 minutes")):
        found = _results([place]).get(place, {"tokens": [], "record_as_it_was": []})
        for what, name in (("tokens", "tokens"), ("the record as it was", "record_as_it_was")):
            for line in found[name]:
                bits, fewer = line["interval"], line["fewer_interval"]
                share = f"{line['ours_fewer_by']:.1%} ({fewer[0]:.1%} to {fewer[1]:.1%})"
                parts = (f"{line[part]:.2f}" if part in line else "" for part in ("end", "time", "code", "value"))
                cells = (f"{line['bits_per_event']:.2f} ({bits[0]:.2f}-{bits[1]:.2f})", *parts)
                rows.append((language, what, line["model"], *cells, "" if line["model"] == "sojourn" else share))
    header = ("language", "of", "model", "bits per event", "end", "time", "code", "value", "ours has fewer by")
    return _table(header, rows)


def startup() -> Iterator[str]:
    """What a start costs, beside that of other programs."""
    found = _results(["startup"]).get("startup", {"commands": {}})["commands"]
    order = sorted(found.items(), key=lambda one: one[1]["cpu_s"])
    return _table(("start", "CPU s", "wall s"), [(f"`{name}`", f["cpu_s"], f["wall_s"]) for name, f in order])


def few_shot() -> Iterator[str]:
    """AUROC of every method by the number of labelled stays; methods without labels have one column."""
    studies = _results(["few_shot"]).get("few_shot", {"studies": {}})["studies"]
    sizes = sorted({row["labels"] for study in studies.values() for row in study["rows"] if row["labels"]})
    rows = []
    for name, study in studies.items():
        for method in dict.fromkeys(row["method"] for row in study["rows"]):
            mine = {row["labels"]: row for row in study["rows"] if row["method"] == method}
            cells = [metric({"metrics": mine[size]}, "auroc") if size in mine else "" for size in (None, *sizes)]
            rows.append((name, method, max(row["num_draws"] for row in mine.values()), *cells))
    return _table(("study", "method", "draws", "no labels here", *(f"{size:,} stays" for size in sizes)), rows)


def training_rate() -> Iterator[str]:
    """Events per CPU second of training, and the share of the processor's arithmetic that this takes."""
    header = ("store", "model", "weights", "events per CPU second", "times the GPT-2", "of the matrix product's peak")
    rows = []
    for store, found in _results(["training_rate"]).get("training_rate", {"stores": {}})["stores"].items():
        for line in found["models"]:
            weights, rate = f"{line['num_weights']:,}", f"{line['events_per_cpu_s']:,}"
            share = f"{100 * line['utilisation']:.0f} %"
            rows.append((store, line["model"], weights, rate, line["times_the_gpt"], share))
    return _table(header, rows)


def sampling() -> Iterator[str]:
    """Events per CPU second of sampled futures, and of a token model at either number of tokens per event."""
    found = _results(["sampling_rate"]).get("sampling_rate")
    if found is None:
        return _table(("what", "events per CPU second"), [])
    rows: list[tuple[str, str]] = []
    for state, key in (("in cache", "futures_in_cache"), ("window full", "futures_with_full_window")):
        rows += [
            (f"sojourn, {state}, {r['histories']} histories x {r['futures_of_each']}", f"{r['events_per_s']:,.0f}")
            for r in found[key]
        ]
    for row in found["token_model_tokens_per_s"]:
        for state, key in (("in cache", "in_cache"), ("window full", "full_window")):
            rates = (f"{row[key] / n:,.0f} at {n}" for n in found["tokens_per_event"].values() if key in row)
            text = ", ".join(rates)
            if text:
                rows.append((f"GPT-2, {state}, {row['rows']} rows", f"{text} tokens per event"))
    return _table(("what", "events per CPU second"), rows)


def yaib_grid() -> Iterator[str]:
    """Cells of our hourly grid beside YAIB's, and why those differ that do."""
    rows = []
    for line in _results(["yaib_grid"]).get("yaib_grid", {"variables": []})["variables"]:
        either, shares = line["cells_with_a_value_in_either"], (line["agree"], line["agree_with_their_items"])
        cells = (f"{line['stays']:,}", f"{either:,}", *("-" if share is None else f"{share:.1%}" for share in shares))
        parts = (f"{line[name]:,}" for name in ("differ", "only_ours", "only_theirs"))
        reasons = [f"{code} ({count:,})" for code, count in line["codes_in_cells_that_disagree"][:3]]
        if line["because_of_a_missing_table"]:
            gone = " and ".join(line["tables_missing"])
            reasons.insert(0, f"{gone} not at hand ({line['because_of_a_missing_table']:,})")
        if line["unexplained"]:
            reasons.append(f"not known ({line['unexplained']:,})")
        rows.append((line["variable"], *cells, *parts, "; ".join(reasons)))
    header = ("variable", "stays", "cells with a value", "agree", "with their items", "differ", "only ours")
    return _table((*header, "only theirs", "why (cells)"), rows)


def grid_rates() -> Iterator[str]:
    """Speed and memory of the grid."""
    found = _results(["grid_rate"]).get("grid_rate", {})
    names = ("num_events", "num_rows", "events_per_cpu_s")
    rows = [
        (name, *(f"{line[n]:,}" for n in names), f"{line['peak_memory_mb']} MB")
        for name, line in found.items()
        if name != "machine"
    ]
    return _table(("data", "events", "rows", "events per CPU second", "peak memory"), rows)


def yaib_tasks() -> Iterator[str]:
    """Where YAIB's own cohorts disagree with each other."""
    found = _results(["yaib_grid"]).get("yaib_grid", {"between_yaibs_own_tasks": {}})["between_yaibs_own_tasks"]
    rows = [(task, *(f"{count:,}" for count in line.values())) for task, line in sorted(found.items())]
    names = list(dict.fromkeys(name for line in found.values() for name in line))
    return _table(("cohort", *(name.replace("_", " ") for name in names)), rows)


def yaib_parity() -> Iterator[str]:
    """Cohorts and labels of YAIB's five tasks, ours beside its own."""
    rows = []
    for data, tasks in _results(["yaib_parity"]).get("yaib_parity", {"tasks": {}})["tasks"].items():
        for task, line in tasks.items():
            stays, labels, other = line["stays"], line["rows"], line["corrected_rule"]
            base = next(s["num_stays"] for s in line["flow"] if s["step"] == "age under 18")
            agree = f"{labels['agree']:,} of {labels['both']:,}"
            changed = f"{other['rows_that_differ']:,} of {other['rows_in_both']:,}"
            counts = (f"{stays[side]:,}" for side in ("ours", "theirs", "both"))
            rows.append((data, task, f"{base:,}", *counts, agree, line["stays_with_all_rows_equal"], changed))
    header = ("made from", "task", "base", "ours", "YAIB's", "both", "labels that agree", "equal stays", "corrected")
    return _table(header, rows)


def units() -> Iterator[str]:
    """Unit inference on hospitals whose units are known."""
    rows = [
        (
            line["kind"],
            f"{line['size']:,}",
            f"{line['pairs']:,}",
            line["wrong"],
            f"{line['not_wrong']:.2%}",
            line["refused"],
        )
        for line in _results(["unit_inference"]).get("unit_inference", {"overall": []})["overall"]
    ]
    header = ("hospitals", "values of a pair", "pairs", "wrong", "without a wrong conversion", "refused")
    return _table(header, rows)


def units_by_declaration() -> Iterator[str]:
    """The same for concepts with several units, by what was declared."""
    rows = [
        (line["kind"], line["arm"], f"{line['size']:,}", f"{line['pairs']:,}", line["wrong"], line["refused"])
        for line in _results(["unit_inference"]).get("unit_inference", {"by_arm": []})["by_arm"]
    ]
    return _table(("hospitals", "declared", "values of a pair", "pairs", "wrong", "refused"), rows)


def units_taken() -> Iterator[str]:
    """Every kind of wrong conversion: what was recorded and what it was taken for."""
    found: dict[tuple[str, ...], int] = {}
    for line in _results(["unit_inference"]).get("unit_inference", {"confusion": []})["confusion"]:
        key = (line["concept"], line["truth"], line["declared"] or "nothing", line["unit"] or "-", line["decision"])
        found[key] = found.get(key, 0) + line["len"]
    rows = [(*key, num) for key, num in sorted(found.items(), key=lambda one: (-one[1], one[0]))]
    return _table(("concept", "recorded in", "declared", "taken for", "decision", "pairs"), rows)


def defects() -> Iterator[str]:
    """What the rules of other concept tables give on the demo data, beside what ours give."""
    found = _results(["concept_defects"]).get("concept_defects", {"rows": []})
    rows = [(row["defect"], row["what"], f"{row['rows']:,}", row["theirs"], row["ours"]) for row in found["rows"]]
    return _table(("no.", "concept and data", "rows", "their rule", "ours"), rows)


def unmapped() -> Iterator[str]:
    """AUROC by task and bits per event, with a third of the mapping hidden; means over the seeds of an arm."""
    rows = []
    tasks: list[str] = []
    for line in _results(["unmapped_codes"]).get("unmapped_codes", {"summary": []})["summary"]:
        tasks, bits = list(line["auroc"]), line["bits"]
        parts = (f"{bits[part]:.3f}" for part in ("total", "gap", "code", "value_of_mapped", "value_of_hidden"))
        cells = (f"{line['auroc'][task]:.3f}" for task in tasks)
        rows.append((line["arm"], ", ".join(map(str, line["seeds"])), *cells, *parts))
    header = ("arm", "seeds", *tasks, "bits per event", "gap", "code", "values, mapped", "values, hidden")
    return _table(header, rows)


def formats() -> Iterator[str]:
    """Concepts of the MIMIC-IV demo through five formats."""
    rows = []
    for line in _results(["formats"]).get("formats", {"concepts": []})["concepts"]:
        cells = []
        for name in ("csv", "meds", "clif", "fhir"):
            here = line[name]
            median = "" if here["median"] is None else f"; {here['median']:.4g} ({here['q05']:.4g}-{here['q95']:.4g})"
            cells.append(f"{here['values']:,} / {here['subjects']}{median}" if here["values"] else "")
        agreement = line["agreement"]
        agrees = ", ".join(name for name, found in agreement.items() if found["agrees"])
        why = "; ".join(
            f"{name} x {found['ratio']:.2f}: {found['reason']}"
            for name, found in agreement.items()
            if not found["agrees"]
        )
        rows.append((line["concept"], *cells, agrees, why))
    return _table(("concept", "hosp/icu CSV", "MEDS", "CLIF", "FHIR", "agree", "others"), rows)


def format_events() -> Iterator[str]:
    """Stays and deaths of the MIMIC-IV demo through five formats."""
    names = ("csv", "meds", "clif", "clif-shared", "fhir", "omop")
    found = _results(["formats"]).get("formats", {"events": {}})["events"]
    rows = [(kind, *(f"{line[name]:,}" for name in names)) for kind, line in found.items()]
    return _table(("events", "hosp/icu CSV", "MEDS", "CLIF", "CLIF, shared stays", "FHIR", "OMOP"), rows)


def derived_rates() -> Iterator[str]:
    """Derived events: speed and memory on the demo data as they are and several times over."""
    rows = []
    for found in _results(("derived_rate",)).values():
        for name, parts in found["results"].items():
            for part, what in parts.items():
                memory = f"{what['peak_memory_mb']:,}" if "peak_memory_mb" in what else "-"
                rate = f"{what['events_per_cpu_s']:,}"
                rows.append((name, part, f"{what['num_events']:,}", what["cpu_s"], rate, memory))
    return _table(("data", "what", "events", "CPU s", "events per CPU second", "peak MB"), rows)


def code_names() -> Iterator[str]:
    """How often codes are called most like the concept that they are."""
    rows = []
    for line in _results(["code_names"]).get("code_names", {"pairs": []})["pairs"]:
        shares = (line[name] for name in ("right", "alike", "right_of_alike", "right_of_others"))
        cells = ("" if share is None else f"{share:.0%}" for share in shares)
        rows.append((line["known"], line["num_concepts"], line["new"], line["num_codes"], *cells))
    header = ("known", "concepts", "new", "codes", "right", "called alike", "right of these", "right of the others")
    return _table(header, rows)


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "predictions": lambda: tables_sites.lines(tables_studies.predictions()),
    "variants": lambda: tables_sites.lines(tables_studies.variants()),
    "likelihoods": lambda: tables_sites.lines(tables_studies.likelihoods()),
    "trainings": lambda: tables_sites.lines(tables_studies.trainings()),
    "unseen": lambda: tables_sites.lines(tables_studies.unseen()),
    "drawn": lambda: tables_sites.lines(tables_studies.drawn()),
    "ablations": ablations,
    "scaling": scaling,
    "rates": rates,
    "prepare": prepare,
    "training-rate": training_rate,
    "sampling": sampling,
    "startup": startup,
    "tokens": tokens,
    "few-shot": few_shot,
    "unmapped": unmapped,
    "code-names": code_names,
    "defects": defects,
    "units": units,
    "units-by-declaration": units_by_declaration,
    "units-taken": units_taken,
    "yaib-grid": yaib_grid,
    "yaib-tasks": yaib_tasks,
    "yaib-parity": yaib_parity,
    "grid-rates": grid_rates,
    "formats": formats,
    "format-events": format_events,
    "derived": derived_rates,
    "concept-mapping": lambda: tables_sites.lines(tables_sites.concept_mapping()),
    "federated": lambda: tables_sites.lines(tables_sites.federated()),
    "adapted": lambda: tables_sites.lines(tables_sites.adapted()),
    "privacy": lambda: tables_sites.lines(tables_sites.privacy()),
    "inversion": lambda: tables_sites.lines(tables_sites.inversion()),
}

if __name__ == "__main__":
    main()
