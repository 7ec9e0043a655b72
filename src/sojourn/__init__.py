"""Foundation models of clinical event streams that hold up at the next hospital.

The functions here are the commands: each takes paths, as `pathlib.Path` or as strings, and returns a record of what it
did. They are imported when they are first used, so that ``import sojourn`` costs nothing.

Examples
--------
>>> import sojourn as sj
>>> sj.TASKS[:2]
('icu-death', 'death-24h')
"""

from importlib import import_module
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sojourn.adaptation.adapt import adapt as adapt
    from sojourn.adaptation.codes import extend as extend
    from sojourn.adaptation.embed import embed as embed
    from sojourn.adaptation.finetune import finetune as finetune
    from sojourn.concepts.derived.dataset import derive as derive
    from sojourn.demo import demo as demo
    from sojourn.events.build import build_store as build_store
    from sojourn.events.inspect import inspect as inspect
    from sojourn.events.store import EventStore as EventStore
    from sojourn.inference.likelihood import likelihood as likelihood
    from sojourn.inference.predict import predict as predict
    from sojourn.inference.probe import probe as probe
    from sojourn.inference.simulate import simulate as simulate
    from sojourn.inference.synthesis import Drawing as Drawing
    from sojourn.inference.synthesis import synthesise as synthesise
    from sojourn.inference.values import future_value as future_value
    from sojourn.pipeline import build as build
    from sojourn.pipeline import ingest as ingest
    from sojourn.pipeline import units as units
    from sojourn.report.evaluation import evaluate as evaluate
    from sojourn.report.html import report as report
    from sojourn.sources.fetch import fetch as fetch
    from sojourn.tasks.baseline import baseline as baseline
    from sojourn.tasks.blend import blend as blend
    from sojourn.tasks.grid import hourly_grid as hourly_grid
    from sojourn.tasks.label import label as label
    from sojourn.training.config import PretrainConfig as PretrainConfig
    from sojourn.training.pretrain import pretrain as pretrain
    from sojourn.training.run import Run as Run

_PLACES = {
    "Drawing": "sojourn.inference.synthesis",
    "EventStore": "sojourn.events.store",
    "PretrainConfig": "sojourn.training.config",
    "Run": "sojourn.training.run",
    "adapt": "sojourn.adaptation.adapt",
    "baseline": "sojourn.tasks.baseline",
    "blend": "sojourn.tasks.blend",
    "build": "sojourn.pipeline",
    "demo": "sojourn.demo",
    "derive": "sojourn.concepts.derived.dataset",
    "embed": "sojourn.adaptation.embed",
    "evaluate": "sojourn.report.evaluation",
    "fetch": "sojourn.sources.fetch",
    "extend": "sojourn.adaptation.codes",
    "finetune": "sojourn.adaptation.finetune",
    "future_value": "sojourn.inference.values",
    "hourly_grid": "sojourn.tasks.grid",
    "ingest": "sojourn.pipeline",
    "inspect": "sojourn.events.inspect",
    "label": "sojourn.tasks.label",
    "likelihood": "sojourn.inference.likelihood",
    "predict": "sojourn.inference.predict",
    "pretrain": "sojourn.training.pretrain",
    "probe": "sojourn.inference.probe",
    "report": "sojourn.report.html",
    "simulate": "sojourn.inference.simulate",
    "synthesise": "sojourn.inference.synthesis",
    "units": "sojourn.pipeline",
}

__all__ = [
    "TASKS",
    "Drawing",
    "EventStore",
    "PretrainConfig",
    "Run",
    "adapt",
    "baseline",
    "blend",
    "build",
    "demo",
    "derive",
    "embed",
    "evaluate",
    "extend",
    "fetch",
    "finetune",
    "future_value",
    "hourly_grid",
    "ingest",
    "inspect",
    "label",
    "likelihood",
    "predict",
    "pretrain",
    "probe",
    "report",
    "simulate",
    "synthesise",
    "units",
]


def __getattr__(name: str) -> Any:
    if name == "TASKS":
        return tuple(import_module("sojourn.tasks.definitions").list_tasks())
    if name in _PLACES:
        member = getattr(import_module(_PLACES[name]), name)
        return import_module("sojourn.paths").takes_strings(member) if isinstance(member, FunctionType) else member
    msg = f"module 'sojourn' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return __all__
