"""A network of simulated hospitals with a known truth: latent physiology, treatments, outcomes, policies and charts."""

from sojourn.sources.simulator.config import (
    CaseMix,
    Charting,
    Policy,
    Practice,
    SimulatorConfig,
    SiteConfig,
    TruthConfig,
)
from sojourn.sources.simulator.network import default_config, load_config, write_config
from sojourn.sources.simulator.source import SOURCE

__all__ = [
    "SOURCE",
    "CaseMix",
    "Charting",
    "Policy",
    "Practice",
    "SimulatorConfig",
    "SiteConfig",
    "TruthConfig",
    "default_config",
    "load_config",
    "write_config",
]
