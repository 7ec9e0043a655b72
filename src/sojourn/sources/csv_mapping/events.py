"""The events that the rows of a mapped table give: people, stays, facts, and whatever the mapping calls events."""

from collections.abc import Callable, Iterator

import polars as pl

from sojourn.sources.csv_mapping import expressions as say
from sojourn.sources.csv_mapping.loading import Place
from sojourn.sources.csv_mapping.mapping import Birth, Event, Sex, Stay, Table, Time
from sojourn.sources.recipes import Emit, answer, code_for, code_of, label

At = Callable[[Place], say.Column]
"""Place in the mapping -> how its columns are found."""
_DAYS_A_YEAR = 365.25
_SEXES = {
    **dict.fromkeys(("f", "female", "w", "weiblich", "woman", "vrouw", "femme", "mujer", "femenino"), "F"),
    **dict.fromkeys(("m", "male", "männlich", "man", "homme", "hombre", "masculino"), "M"),
}
"""Words of some languages for the sexes, in lower case."""


def emits_of(table: Table, at: At, top: Place) -> Iterator[Emit]:
    """All kinds of events that a row of the table may give; `top` is where the table stands."""
    if table.birth is not None:
        yield _birth(table.birth, at((*top, "birth")))
    if table.sex is not None:
        yield _sex(table.sex, at((*top, "sex")))
    for code, column in table.static.items():
        yield Emit(code_for(code, label(at((*top, "static", code))(column).text)), None)
    if table.hospital_stay is not None:
        yield from _stay(table.hospital_stay, "HOSPITAL", at((*top, "hospital_stay")))
    if table.icu_stay is not None:
        yield from _stay(table.icu_stay, "ICU", at((*top, "icu_stay")))
    if table.death is not None:
        find = at((*top, "death"))
        when = None if table.death.when is None else say.fits(table.death.when, find)
        yield Emit(pl.lit("MEDS_DEATH"), say.time(table.death, find), when=when)
    for number, event in enumerate(table.events):
        yield from _event(event, at, (*top, "events", number))


def times_of(table: Table, top: Place) -> Iterator[tuple[Time, Place]]:
    """Every time that the table's mapping names, and where."""
    named: list[tuple[Time | None, Place]] = [(table.death, (*top, "death"))]
    if table.birth is not None:
        named += [(table.birth.date, (*top, "birth", "date")), (table.birth.at, (*top, "birth", "at"))]
    for name, stay in (("hospital_stay", table.hospital_stay), ("icu_stay", table.icu_stay)):
        if stay is not None:
            named += [(stay.start, (*top, name, "start")), (stay.end, (*top, name, "end"))]
    for number, event in enumerate(table.events):
        place: Place = (*top, "events", number)
        named += [(event.time, (*place, "time")), (event.end, (*place, "end"))]
    for time, where in named:
        while time is not None:
            yield time, where
            time, where = time.since, (*where, "since")


def _birth(birth: Birth, column: say.Column) -> Emit:
    """Birth by date, year or age."""
    if birth.date is not None:
        day = birth.date.model_copy(update={"day": "start"})
        return Emit(pl.lit("MEDS_BIRTH"), say.time(day, column))
    if birth.year is not None:
        year = say.value_of(column(birth.year))
        plausible = pl.when(year.is_between(1800, 2200)).then(year).cast(pl.Int32)
        return Emit(pl.lit("MEDS_BIRTH"), pl.datetime(plausible, 7, 1, time_unit="us"))
    assert birth.age is not None
    assert birth.at is not None
    years = say.value_of(column(birth.age))
    days = pl.when(years.is_between(0, 150)).then(years * _DAYS_A_YEAR)
    age = pl.duration(seconds=(days * 86_400).round().cast(pl.Int64))
    return Emit(pl.lit("MEDS_BIRTH"), say.time(birth.at, column) - age)


def _sex(sex: Sex, column: say.Column) -> Emit:
    """Sex as F and M where the words are known, else as written."""
    text = label(column(sex.column).text)
    words = {word.lower(): meant for word, meant in sex.values.items()}
    known = text.str.to_lowercase().replace_strict(_SEXES | words, default=None, return_dtype=pl.String)
    return Emit(code_for("GENDER", pl.coalesce(known, text)), None)


def _stay(stay: Stay, kind: str, column: say.Column) -> Iterator[Emit]:
    """Admission and discharge; a discharge whose status is empty says neither alive nor dead."""
    detail = [] if stay.type is None else [label(column(stay.type).text)]
    yield Emit(code_of(f"{kind}_ADMISSION", *detail), say.time(stay.start, column))
    if stay.end is None:
        return
    left: pl.Expr = pl.lit(f"{kind}_DISCHARGE")
    if stay.died is not None:
        died = say.fits(stay.died, column)
        status = pl.when(died).then(pl.lit("DIED")).when(~died).then(pl.lit("ALIVE"))
        left = code_of(f"{kind}_DISCHARGE", status)
    yield Emit(left, say.time(stay.end, column))


def _event(event: Event, at: At, place: Place) -> Iterator[Emit]:
    """The events of one entry under `events`."""
    column = at(place)
    time = None if event.time is None else say.time(event.time, at((*place, "time")))
    when = None if event.when is None else say.fits(event.when, at((*place, "when")))
    text = None if event.text is None else at((*place, "text"))(event.text).text
    if event.code is not None:
        code = say.code(event.code, at((*place, "code")))
        if event.value is None:
            yield Emit(code, time, text=text, when=when)
        else:
            yield _measured(code, time, at((*place, "value"))(event.value), text)._replace(when=when)
    for name, template in (event.wide or {}).items():
        where = at((*place, "wide", name))
        yield _measured(say.code(template, where), time, where(name), text)._replace(when=when)
    if event.end is not None and event.end_code is not None:
        end = say.time(event.end, at((*place, "end")))
        yield Emit(say.code(event.end_code, column), end, when=when)


def _measured(code: pl.Expr, time: pl.Expr | None, cells: say.Cells, text: pl.Expr | None) -> Emit:
    """A number, or an answer that becomes part of the code; no event where nothing is written."""
    parsed = say.number(cells.text, cells.writing.decimal)
    number, bound = parsed.struct.field("number"), parsed.struct.field("bound")
    is_there = cells.text.is_not_null() if text is None else cells.text.is_not_null() | text.is_not_null()
    full = pl.when(is_there & code.is_not_null()).then(code_of(code, answer(cells.text, number)))
    unread = pl.when(number.is_null() | bound.is_not_null()).then(cells.text)
    return Emit(full, time, number, unread if text is None else pl.coalesce(text, unread), bound)
