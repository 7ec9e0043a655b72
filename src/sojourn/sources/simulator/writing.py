"""From a simulated chunk to charted rows: one row is one record of the hospital's system."""

import numpy as np
import numpy.typing as npt
import polars as pl

from sojourn.sources.simulator.catalogue import CONCEPTS, TYPE_OF_KIND, UNIT_OF_KIND
from sojourn.sources.simulator.charting import Chart, Charted, join, rows
from sojourn.sources.simulator.codes import MEASURED, CodeBook, code_book, concept_of, unit_of
from sojourn.sources.simulator.config import SimulatorConfig, SiteConfig
from sojourn.sources.simulator.trajectories import CHARTING, STEP_MINUTES, Stays, random_stream
from sojourn.sources.simulator.treatments import Actions

FIRST_YEAR = np.datetime64("2100-01-01T00:00", "m")
_STATIC = np.iinfo(np.int64).min
_MINUTES_PER_YEAR = 525_960


def subject_ids(config: SimulatorConfig, site: SiteConfig, chunk: int, num: int) -> npt.NDArray[np.int64]:
    """Ids of the stays of a chunk: one subject is one stay, and ids are unique over the network."""
    return site.index * 10_000_000 + chunk * config.chunk_stays + np.arange(1, num + 1, dtype=np.int64)


def admission_times(stays: Stays, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """ICU admission in minutes since `FIRST_YEAR`: a day that follows from the id, at the stay's time of day."""
    # de-identified dates carry no calendar: days are scattered over 50 years
    day = (ids * np.int64(2_654_435_761)) % np.int64(18_262)
    first = stays.step == 0
    clock = np.zeros(len(ids), np.int64)
    clock[stays.stay[first]] = np.round(stays.state["clock"][first]).astype(np.int64)
    return day * 1440 + clock


class _Rows:
    """Rows with absolute times, gathered from several places."""

    def __init__(self) -> None:
        self._parts: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Charted]] = []

    def add(self, stay: npt.ArrayLike, minute: npt.ArrayLike, charted: Charted) -> None:
        self._parts.append((np.asarray(stay, np.int64), np.asarray(minute, np.int64), charted))

    def joined(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Charted]:
        stay, minute = (np.concatenate([part[place] for part in self._parts]) for place in (0, 1))
        return stay, minute, join([part[2] for part in self._parts])


def chart_chunk(config: SimulatorConfig, site: SiteConfig, chunk: int, stays: Stays) -> pl.DataFrame:
    """Write all records of a chunk, ordered by subject and time.

    Returns
    -------
    DataFrame
        `records.EVENT_SCHEMA` without `row`, and `time_missing`: true where the time got lost.
    """
    rng = random_stream(config, site, chunk, CHARTING)
    book = code_book(site)
    ids = subject_ids(config, site, chunk, len(stays))
    measured = Chart(site, stays.state, stays.is_last, rng).everything()
    gathered = _Rows()
    _add_steps(gathered, stays, measured)
    _add_steps(gathered, stays, _treatments(stays, book, rng))
    _add_facts(gathered, stays, book, rng)
    stay, minute, charted = gathered.joined()
    again = np.flatnonzero(rng.random(len(stay)) < site.charting.duplicate_rate)
    order = np.concatenate([np.arange(len(stay)), again[charted.code[again] < len(MEASURED)]])
    static = minute == _STATIC
    admitted = admission_times(stays, ids)
    minute = np.where(static, _STATIC, minute + admitted[stay])
    key = stay * (1 << 34) + np.where(static, 0, minute + (1 << 33))
    order = order[np.argsort(key[order], kind="stable")]
    return _frame(site, book, ids[stay[order]], minute[order], charted.take(order), rng)


def _add_steps(gathered: _Rows, stays: Stays, charted: Charted) -> None:
    """Rows charted in steps; what would be charted after the end of the stay is not."""
    stay = stays.stay[charted.column]
    minute = stays.step[charted.column] * STEP_MINUTES + charted.minute
    kept = minute < stays.end_minute[stay]
    gathered.add(stay[kept], minute[kept], charted.take(kept))


def _treatments(stays: Stays, book: CodeBook, rng: np.random.Generator) -> Charted:
    """Starts, ends and doses. Times are exact, because the true risks speak of them."""
    # the state of the next step holds the dose that was begun in this one
    dose = _next_dose(stays)
    parts = []
    for name in Actions._fields:
        column = np.flatnonzero(getattr(stays.actions, name)).astype(np.int32)
        value = None
        if name == "vasopressor_start":
            value = np.maximum(np.round(dose[column], 2), 0.01)
        elif name == "fluids":
            value = rng.choice(np.array([250, 500, 500, 1000], np.float32), len(column))
        elif name == "red_cells":
            value = np.full(len(column), 350, np.float32)
        parts.append(rows(column, stays.action_minute[column], book.place[name], value))
    running = (stays.state["vasopressor"] > 0) & (rng.random(len(stays.step), np.float32) < 0.3) & ~stays.is_last
    column = np.flatnonzero(running & ~stays.actions.vasopressor_end).astype(np.int32)
    value = np.maximum(np.round(stays.state["vasopressor"][column], 2), 0.01)
    parts.append(rows(column, np.full(len(column), 1, np.int32), book.place["vasopressor_rate"], value))
    return join(parts)


def _next_dose(stays: Stays) -> npt.NDArray[np.float32]:
    """Vasopressor dose at the end of every step that a stay survives, (m,)."""
    order = np.argsort(stays.stay, kind="stable")
    dose = stays.state["vasopressor"][order]
    following = np.empty_like(dose)
    following[order] = np.append(dose[1:], 0)
    return following


def _add_facts(gathered: _Rows, stays: Stays, book: CodeBook, rng: np.random.Generator) -> None:
    """Birth, static facts, admissions, discharges and death."""
    num = len(stays)
    first = np.flatnonzero(stays.step == 0)
    first = first[np.argsort(stays.stay[first])]
    who = np.arange(num)
    kind = stays.state["kind"][first].astype(int)
    before = np.where(kind == 1, rng.integers(180, 720, num), rng.exponential(600, num).astype(int) + 30)
    age = (stays.state["age"][first].astype(np.float64) * _MINUTES_PER_YEAR).astype(np.int64)
    static = np.full(num, _STATIC)
    gender = np.where(stays.state["male"][first] > 0, book.place["GENDER//M"], book.place["GENDER//F"])
    _add(gathered, who, -age, np.full(num, book.place["MEDS_BIRTH"]))
    _add(gathered, who, static, gender)
    _add(gathered, who, static, np.full(num, book.place["COMORBIDITY//COUNT"]), stays.state["comorbidities"][first])
    kinds = book.indices(tuple(f"HOSPITAL_ADMISSION//{name}" for name in TYPE_OF_KIND))
    _add(gathered, who, -before, kinds[kind])
    _add(gathered, who, np.zeros(num), book.indices(tuple(f"ICU_ADMISSION//{name}" for name in UNIT_OF_KIND))[kind])
    for place, minute, died in (
        ("ICU", stays.end_minute, stays.died),
        ("HOSPITAL", stays.leave_minute, stays.died | stays.died_on_ward),
    ):
        codes = book.indices((f"{place}_DISCHARGE//ALIVE", f"{place}_DISCHARGE//DIED"))
        _add(gathered, who, minute, codes[died.astype(int)])
    dead = np.flatnonzero(stays.died | stays.died_on_ward)
    _add(gathered, dead, stays.leave_minute[dead], np.full(len(dead), book.place["MEDS_DEATH"]))


def _add(
    gathered: _Rows,
    stay: npt.NDArray[np.int64],
    minute: npt.ArrayLike,
    code: npt.NDArray[np.int32],
    value: npt.NDArray[np.float32] | None = None,
) -> None:
    empty = np.zeros(len(stay), np.int32)
    written = np.full(len(stay), np.nan, np.float32) if value is None else value
    gathered.add(stay, minute, Charted(empty, empty, code.astype(np.int32), written, empty.astype(np.int8)))


def _frame(
    site: SiteConfig,
    book: CodeBook,
    subject: npt.NDArray[np.int64],
    minute: npt.NDArray[np.int64],
    charted: Charted,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """Arrays -> events; the time of a few measurements gets lost."""
    is_measured = charted.code < len(MEASURED)
    lost = is_measured & (rng.random(len(subject), np.float32) < site.charting.missing_time_rate)
    microseconds = np.where(minute == _STATIC, 0, minute) * 60_000_000 + FIRST_YEAR.astype("datetime64[us]").astype(
        np.int64
    )
    frame = pl.DataFrame({
        "subject_id": subject, "time": microseconds, "value": charted.value, "none": minute == _STATIC,
        "time_missing": lost,
    })  # fmt: skip
    time = pl.when(pl.col("none") | pl.col("time_missing")).then(None).otherwise(pl.col("time").cast(pl.Datetime("us")))
    return frame.select(
        "subject_id",
        time.alias("time"),
        book.codes.gather(charted.code).alias("code"),
        pl.col("value").fill_nan(None).alias("numeric_value"),
        _texts(charted).alias("text_value"),
        pl.lit(site.name).alias("site"),
        _words(charted.bound, {-1: "<", 1: ">"}).alias("bound"),
        _words(_beyond(site, charted, len(book.codes)), {-1: "below_limit", 1: "above_limit"}).alias("flag"),
        "time_missing",
    )


def _words(signs: npt.NDArray[np.int8], words: dict[int, str]) -> pl.Series:
    """-1, 0, 1 -> word, null, word."""
    table = pl.Series([words[-1], None, words[1]], dtype=pl.String)
    return table.gather((signs + 1).astype(np.uint32))


def _texts(charted: Charted) -> pl.Series:
    """Text of rows written as `<low` or `>high`, null elsewhere."""
    marked = np.flatnonzero(charted.bound)
    limits, place = np.unique(charted.bound[marked] * charted.value[marked], return_inverse=True)
    texts = pl.Series(
        [None, *(f"{'<' if limit < 0 else '>'}{abs(float(limit)):.6g}" for limit in limits)], dtype=pl.String
    )
    index = np.zeros(len(charted.bound), np.uint32)
    index[marked] = place + 1
    return texts.gather(index)


def _beyond(site: SiteConfig, charted: Charted, num_codes: int) -> npt.NDArray[np.int8]:
    """Side of the plausible range on which a value lies: -1 below, +1 above, 0 inside."""
    low, high = np.full(num_codes, -np.inf, np.float32), np.full(num_codes, np.inf, np.float32)
    for place, series in enumerate(MEASURED):
        facts, (_, unit) = CONCEPTS[concept_of(series)], unit_of(site, series)
        # half a tick of slack: a limit that rounding moved is no outlier
        low[place] = facts.low * unit.factor + unit.offset - 0.51 * unit.tick
        high[place] = facts.high * unit.factor + unit.offset + 0.51 * unit.tick
    beyond = (charted.value > high[charted.code]).astype(np.int8) - (charted.value < low[charted.code]).astype(np.int8)
    value: npt.NDArray[np.int8] = beyond * (charted.bound == 0)
    return value
