"""Definitions of the tasks whose unit is the ICU stay: who is left out, what is labelled, and by which rule."""

from functools import cache
from importlib import resources
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from sojourn.tasks.outcomes import OUTCOME_PREFIX

__all__ = ["MAX_HOURS", "StayTask", "stay_tasks"]

#: No stay is followed for longer.
MAX_HOURS = 168


class StayTask(BaseModel):
    """One task over ICU stays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    description: str
    rule: Literal["recorded", "corrected"]
    """`recorded`: as published; `corrected`: without what depends on charting."""
    other: str
    """Name of the same task by the other rule."""
    target: Literal["death", "onset", "value", "remaining"]
    outcome: str | None = None
    """Name of the outcome, for death and onset."""
    concept: str | None = None
    """Shared concept whose later median is the label, for value."""
    at_hours: float | None = None
    """Hour of the one prediction; None: every hour."""
    horizon_hours: float | None = None
    """How far ahead an onset counts."""
    observe: tuple[str, ...] = ()
    """Codes of which there must be some for the absence of the outcome to be known."""
    exclude: tuple[str, ...]
    """Names of exclusions, in order, the base cohort's first."""

    @model_validator(mode="after")
    def _consistent(self) -> "StayTask":
        needed = {"death": "outcome", "onset": "outcome", "value": "concept"}.get(self.target)
        if needed is not None and getattr(self, needed) is None:
            msg = f"task {self.name} must name its {needed}."
            raise ValueError(msg)
        if (self.at_hours is None) != (self.target in ("onset", "remaining")):
            msg = f"task {self.name} must have at_hours for death and value, and not else."
            raise ValueError(msg)
        return self

    @property
    def code(self) -> str | None:
        """Code of the outcome's events; None for a task without one."""
        return None if self.outcome is None else OUTCOME_PREFIX + self.outcome

    @property
    def is_recorded(self) -> bool:
        """Whether it is as published."""
        return self.rule == "recorded"

    @property
    def label_column(self) -> str:
        """Column of the MEDS label schema that holds the label."""
        return "boolean_value" if self.target in ("death", "onset") else "float_value"


@cache
def stay_tasks() -> dict[str, StayTask]:
    """The built-in tasks over ICU stays, by name.

    Examples
    --------
    >>> task = stay_tasks()["yaib-los"]
    >>> task.exclude[:3], task.label_column
    (('no_end', 'end_before_start', 'los_6h'), 'float_value')
    """
    content = yaml.safe_load(resources.files("sojourn.tasks").joinpath("yaib.yaml").read_text(encoding="utf-8"))
    tasks = [StayTask(**entry | {"exclude": content["base"] + entry["exclude"]}) for entry in content["tasks"]]
    return {task.name: task for task in tasks}
