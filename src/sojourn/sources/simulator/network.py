"""Drawing a network of hospitals that differ, and reading and writing its configuration."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sojourn.errors import ConfigError
from sojourn.files import atomic_file
from sojourn.sources.simulator.catalogue import ADMISSION_KINDS, CONCEPTS, UNITS
from sojourn.sources.simulator.config import (
    CONFIG_NAME,
    CaseMix,
    Charting,
    Policy,
    PolicyKind,
    Practice,
    SimulatorConfig,
    SiteConfig,
)

_KINDS: tuple[PolicyKind, ...] = ("non_ignorable", "ignorable", "protocol")


def default_config(*, num_sites: int = 6, stays_per_site: int = 1000, seed: int = 0) -> SimulatorConfig:
    """Draw a network whose hospitals differ in patients, practice, policy, units and charting.

    Parameters
    ----------
    num_sites, stays_per_site
        Size of the network; site i is called `hospital-i` (from 1).
    seed
        Decides the hospitals and everything that happens in them. Site i does not depend on `num_sites`.

    Examples
    --------
    >>> [site.policy.kind for site in default_config(num_sites=3).sites]
    ['non_ignorable', 'ignorable', 'protocol']
    """
    sites = tuple(_draw_site(index, stays_per_site, seed) for index in range(1, num_sites + 1))
    return SimulatorConfig(sites=sites, seed=seed)


def _draw_site(index: int, num_stays: int, seed: int) -> SiteConfig:
    """Hospital number `index` of the network of `seed`; kinds of policy take turns."""
    rng = np.random.default_rng([seed, 104_729, index])
    return SiteConfig(
        name=f"hospital-{index}",
        index=index,
        num_stays=num_stays,
        case_mix=_draw_case_mix(rng),
        practice=_draw_practice(rng),
        policy=_draw_policy(rng, _KINDS[(index - 1) % 3]),
        charting=_draw_charting(rng, index),
    )


def _draw_case_mix(rng: np.random.Generator) -> CaseMix:
    shares = rng.dirichlet([12.0, 5.0, 4.0, 5.0, 3.0])
    return CaseMix(
        shares={kind: round(float(share), 3) for kind, share in zip(ADMISSION_KINDS, shares, strict=True)},
        mean_age=round(float(rng.normal(64, 2.5)), 1),
        severity=round(float(rng.normal(0, 0.15)), 2),
        comorbidity=round(float(rng.normal(0, 0.3)), 2),
    )


def _draw_practice(rng: np.random.Generator) -> Practice:
    return Practice(
        map_threshold=round(float(rng.uniform(61, 65)), 1),
        intubation=round(float(rng.normal(0, 0.3)), 2),
        rrt=round(float(rng.normal(0, 0.3)), 2),
        antibiotics=round(float(rng.normal(0, 0.4)), 2),
        discharge=round(float(np.exp(rng.normal(0, 0.12))), 2),
    )


def _draw_policy(rng: np.random.Generator, kind: PolicyKind) -> Policy:
    intensity = float(np.exp(rng.normal(0, 0.3)))
    routine = {"chemistry": 0.95, "cbc": 0.9, "coagulation": 0.45, "liver": 0.4, "gas": 0.2, "lactate": 0.1}
    triggered = {
        "chemistry": 0.35,
        "cbc": 0.25,
        "coagulation": 0.2,
        "liver": 0.08,
        "gas": 0.45,
        "lactate": 0.3,
        "bedside_glucose": 2.0,
    }
    rare = [name for name in ("bilirubin_total", "inr", "pco2", "gcs_total", "bedside_glucose") if rng.random() < 0.2]
    measured = [name for name in rare if name != "bedside_glucose"]
    if "bedside_glucose" in rare:
        triggered["bedside_glucose"] = 0.0
    return Policy(
        kind=kind,
        vitals_interval_hours=2 if rng.random() < 0.2 else 1,
        vitals_missed=round(float(rng.uniform(0.03, 0.12)), 3),
        extra_rounds=round(float(rng.uniform(-3.2, -2.2)), 2),
        slope=round(float(rng.uniform(0.5, 1.1)), 2),
        morning_hour=int(rng.choice([3, 4, 5, 6])),
        routine={
            panel: round(min(0.98, share * float(np.exp(rng.normal(0, 0.2)))), 3) for panel, share in routine.items()
        },
        triggered={
            panel: round(rate * intensity * float(np.exp(rng.normal(0, 0.2))), 3) for panel, rate in triggered.items()
        },
        bundle=round(float(rng.uniform(0.25, 0.5)), 2),
        urine_interval_hours=int(rng.choice([1, 2, 4])),
        slow_vitals_hours=int(rng.choice([2, 4, 4])),
        never_measured=tuple(measured),
    )


def _draw_charting(rng: np.random.Generator, index: int) -> Charting:
    # every third hospital reports in SI units throughout, the others mix
    share = 0.9 if index % 3 == 0 else 0.12
    units = {}
    for concept, choices in UNITS.items():
        others = [unit for unit in choices if unit != CONCEPTS[concept].unit]
        if others and rng.random() < share:
            units[concept] = str(rng.choice(others))
    jitter = int(rng.choice([0, 0, 3, 8]))
    return Charting(
        units=units,
        jitter_minutes=jitter,
        by_device=bool(rng.random() < 0.25),
        late_rate=round(float(rng.uniform(0.01, 0.05)), 3),
        outlier_rate=round(float(rng.uniform(0.0005, 0.0015)), 4),
        duplicate_rate=round(float(rng.uniform(0.001, 0.004)), 4),
        limits={
            "lactate": (0.3, float(rng.choice([15.0, 20.0, 30.0]))),
            "inr": (0.8, float(rng.choice([8.0, 10.0]))),
            "bilirubin_total": (float(rng.choice([0.1, 0.2])), 50.0),
            "glucose": (20.0, float(rng.choice([500.0, 600.0]))),
        },
    )


def load_config(raw: Path) -> SimulatorConfig:
    """Read a YAML file, or `simulator.yaml` in a folder.

    The file holds the fields of `SimulatorConfig`; instead of `sites` it may hold `num_sites` and `stays_per_site`,
    which draw the network as `default_config` does.

    Raises
    ------
    ConfigError
        If there is no such file, or a setting is unknown or out of range.
    """
    path = raw / CONFIG_NAME if raw.is_dir() else raw
    if not path.is_file():
        msg = (
            f"raw must be a simulator YAML file or a folder with {CONFIG_NAME}; got {raw}. Write one with write_config."
        )
        raise ConfigError(msg)
    try:
        content = yaml.safe_load(path.read_text()) or {}
        if not isinstance(content, dict):
            msg = f"{path} must hold a mapping of settings; got {type(content).__name__}."
            raise ConfigError(msg)
        return SimulatorConfig.model_validate(_with_sites(content))
    except (ValueError, TypeError, yaml.YAMLError) as error:
        msg = f"{path} must hold valid simulator settings. {error}"
        raise ConfigError(msg) from error


def write_config(config: SimulatorConfig, path: Path) -> Path:
    """Write the whole configuration as YAML (into `simulator.yaml` if `path` is a folder) and return the file."""
    target = path / CONFIG_NAME if path.is_dir() else path
    with atomic_file(target) as part:
        part.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    return target


def _with_sites(content: dict[str, Any]) -> dict[str, Any]:
    """Fill in `sites` from `num_sites`, `stays_per_site` and `seed`, unless they are given."""
    if "sites" in content:
        return content
    kept = {name: value for name, value in content.items() if name not in ("num_sites", "stays_per_site")}
    num_sites, stays = int(content.get("num_sites", 6)), int(content.get("stays_per_site", 1000))
    return {
        **kept,
        "sites": default_config(num_sites=num_sites, stays_per_site=stays, seed=int(content.get("seed", 0))).sites,
    }
