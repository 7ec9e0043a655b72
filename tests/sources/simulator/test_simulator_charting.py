"""What is written down, and when it is looked at."""

import numpy as np
import pytest

from sojourn.sources.simulator import Charting, Policy, SimulatorConfig, SiteConfig
from sojourn.sources.simulator.bedside import true_values
from sojourn.sources.simulator.catalogue import CONCEPTS, UNITS
from sojourn.sources.simulator.charting import Chart
from sojourn.sources.simulator.codes import MEASURED, code_book, concept_of, describe, is_measured, unit_of
from sojourn.sources.simulator.policy import NOT_NOW, Clock, orders, rounds
from sojourn.sources.simulator.state import State
from sojourn.sources.simulator.trajectories import Stays


def _site(kind: str = "ignorable", units: dict[str, str] | None = None, **policy: object) -> SiteConfig:
    exact = Charting(units=units or {}, outlier_rate=0, late_rate=0, duplicate_rate=0, missing_time_rate=0)
    return SiteConfig(name="a", index=3, num_stays=64, policy=Policy(kind=kind, **policy), charting=exact)


@pytest.mark.parametrize(("concept", "unit"), [(name, unit) for name, units in UNITS.items() for unit in units])
def test_written_values_come_back_in_concept_units(small_stays: Stays, concept: str, unit: str) -> None:
    site = _site(units={concept: unit})
    chart = Chart(site, small_stays.state, small_stays.is_last, np.random.default_rng(0))
    chart._truth = truth = true_values(small_stays.state)
    column = np.arange(len(small_stays.stay), dtype=np.int32)
    part = chart.write(concept, column, np.zeros_like(column))
    _, conversion = unit_of(site, concept)
    code = code_book(site).codes[int(part.code[0])]
    codes = describe((site,))
    row = codes.filter(codes["code"] == code).row(0, named=True)
    assert (row["concept"], row["unit"]) == (concept, unit)
    back = part.value.astype(float) * row["scale"] + row["offset"]
    facts = CONCEPTS[concept]
    slack = 0.5 * conversion.tick / conversion.factor + 6 * (facts.noise + facts.relative_noise * truth[concept]) + 0.5
    assert (np.abs(back - np.clip(truth[concept], facts.low, facts.high)) <= slack).all()
    assert abs((back - truth[concept]).mean()) < 0.1 * truth[concept].std() + 0.02 * abs(truth[concept].mean())


def test_values_are_rounded_to_what_is_recorded(small_stays: Stays) -> None:
    site = _site(units={"glucose": "mmol/L"})
    chart = Chart(site, small_stays.state, small_stays.is_last, np.random.default_rng(0))
    charted = chart.everything()
    book = code_book(site)
    for series in MEASURED:
        _, unit = unit_of(site, series)
        values = charted.value[charted.code == book.place[series]].astype(float)
        np.testing.assert_allclose(values / unit.tick, np.round(values / unit.tick), atol=2e-3)


def test_exact_hours_fall_into_one_step_each() -> None:
    s = State.zeros(49)
    s["clock"], s["hours"] = 75.0, np.arange(49) / 2  # admitted at 01:15
    clock = Clock(s)
    assert clock.minute[:4].tolist() == [NOT_NOW, 15, NOT_NOW, 15]
    assert clock.hour[1] == 2
    assert (clock.at(5) != NOT_NOW).sum() == 1
    assert (clock.every(4) != NOT_NOW).sum() == 6


def test_limits_are_written_as_bounds(small_stays: Stays) -> None:
    site = _site()
    charting = site.charting.model_copy(update={"limits": {"lactate": (1.5, 2.5)}})
    limited = site.model_copy(update={"charting": charting})
    chart = Chart(limited, small_stays.state, small_stays.is_last, np.random.default_rng(0))
    chart._truth = true_values(small_stays.state)
    column = np.arange(len(small_stays.stay), dtype=np.int32)
    part = chart.write("lactate", column, np.zeros_like(column))
    assert (part.value[part.bound == 1] == np.float32(2.5)).all()
    assert (part.value[part.bound == -1] == np.float32(1.5)).all()
    assert {-1, 0, 1} == set(part.bound.tolist())


def test_what_is_never_measured_is_never_written(small_stays: Stays) -> None:
    site = _site(never_measured=("inr", "glucose"), routine={"chemistry": 1.0, "coagulation": 1.0},
                 triggered={"bedside_glucose": 4.0})  # fmt: skip
    charted = Chart(site, small_stays.state, small_stays.is_last, np.random.default_rng(0)).everything()
    book = code_book(site)
    written = {series for series in MEASURED if (charted.code == book.place[series]).any()}
    assert "sodium" in written
    assert not {series for series in written if not is_measured(site, series)}
    assert {"inr", "glucose"}.isdisjoint(concept_of(series) for series in written)


@pytest.mark.parametrize("panel", ["lactate", "gas", "chemistry"])
def test_only_the_non_ignorable_policy_sees_the_latent_state(small_stays: Stays, panel: str) -> None:
    sicker = State(small_stays.state.matrix.copy())
    for organ in ("cardio", "respiratory", "renal", "inflammation"):
        sicker[organ] += 2
    unseen = np.full(len(sicker), np.nan, np.float32)
    num = {}
    for kind in ("ignorable", "protocol", "non_ignorable"):
        site = _site(kind, triggered={panel: 1.0})
        num[kind] = [
            int((orders(panel, s, Clock(s), site, np.random.default_rng(0), unseen) != NOT_NOW).sum())
            for s in (small_stays.state, sicker)
        ]
    assert num["ignorable"][0] == num["ignorable"][1]
    assert num["protocol"][0] == num["protocol"][1]
    assert num["non_ignorable"][1] > 1.5 * num["non_ignorable"][0]


def test_a_negative_slope_reverses_the_policy(small_stays: Stays) -> None:
    sicker = State(small_stays.state.matrix.copy())
    sicker["cardio"] += 2
    unseen = np.full(len(sicker), np.nan, np.float32)
    site = _site("non_ignorable", triggered={"lactate": 1.0}, slope=-1.0)
    before, after = (
        (orders("lactate", s, Clock(s), site, np.random.default_rng(0), unseen) != NOT_NOW).sum()
        for s in (small_stays.state, sicker)
    )
    assert after < 0.7 * before


def test_a_charted_low_pressure_sets_off_the_bundle(small_stays: Stays) -> None:
    site = _site("protocol", bundle=0.5)
    state = small_stays.state
    for panel in ("lactate", "gas", "culture"):
        taken = []
        for pressure in (55.0, 90.0):
            charted = np.full(len(state), pressure, np.float32)
            calm = State(state.matrix.copy())
            calm["vasopressor"], calm["ventilated"] = 0.0, 0.0
            taken.append((orders(panel, calm, Clock(calm), site, np.random.default_rng(0), charted) != NOT_NOW).mean())
        assert taken[0] > taken[1] + 0.2


def test_rounds_follow_the_interval(small_stays: Stays) -> None:
    state = small_stays.state
    for hours in (1, 2, 4):
        policy = Policy(kind="ignorable", vitals_interval_hours=hours)
        calm = State(state.matrix.copy())
        calm["vasopressor"] = 0.0
        share = (rounds(calm, Clock(calm), policy, np.random.default_rng(0)) != NOT_NOW).mean()
        assert share == pytest.approx(0.5 / hours, abs=0.02)


def test_lactate_alone_is_charted_as_often_as_with_everything(
    small_config: SimulatorConfig, small_stays: Stays
) -> None:
    for site in small_config.sites:
        state = small_stays.state.repeat(4)
        last = np.repeat(small_stays.is_last, 4)
        place = code_book(site).place["lactate"]
        everything = Chart(site, state, last, np.random.default_rng(0)).everything()
        with_all = everything.value[everything.code == place]
        alone = Chart(site, state, last, np.random.default_rng(1)).lactate()
        assert (alone.code == place).all()
        assert len(alone.value) == pytest.approx(len(with_all), abs=5 * np.sqrt(len(with_all)) + 1)
        np.testing.assert_allclose(np.median(alone.value), np.median(with_all), rtol=0.1)
