"""Task definitions: what is predicted, when, and for whom."""

from functools import cache
from importlib import resources
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sojourn.errors import TaskError
from sojourn.tasks.outcomes import Outcome, ValueOutcome, outcomes
from sojourn.tasks.stay_definitions import stay_tasks

__all__ = ["Schedule", "Task", "builtin_tasks", "get_task", "list_tasks", "parse_tasks"]


class Schedule(BaseModel):
    """The times at which predictions are made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    anchor: Literal["icu_admission", "hospital_admission", "record_start", "follow_up_start"]
    """What the hours are counted from; a subject with several stays is predicted in each."""
    offsets_hours: tuple[float, ...] | None = None
    """Fixed hours after the anchor."""
    every_hours: float | None = Field(default=None, gt=0)
    """Distance of a regular grid, instead of `offsets_hours`."""
    first_hours: float = 0
    """First hour of the grid."""
    max_hours: float | None = None
    """Last hour of the grid; None: no limit but the stay's end."""
    before: Literal["stay_end", "follow_up_end"] = "stay_end"
    """Predict while the stay lasts, or as long as the whole horizon is known."""

    @model_validator(mode="after")
    def _one_kind(self) -> "Schedule":
        if (self.offsets_hours is None) == (self.every_hours is None):
            msg = "at must have exactly one of offsets_hours and every_hours."
            raise ValueError(msg)
        return self


class Task(BaseModel):
    """One prediction task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    description: str
    outcomes: tuple[str, ...] = Field(min_length=1)
    """Names of outcomes; the first of any of them counts."""
    horizon_hours: float | None = Field(gt=0)
    """The outcome counts in (prediction, prediction + horizon]; None: up to `until`."""
    until: Literal["stay_end", "record_end"] | None = None
    """What closes the window when there is no horizon."""
    gap_hours: float = Field(default=0, ge=0)
    """Stays that end earlier than this after the prediction are left out."""
    clean_hours: float | None = Field(default=None, gt=0)
    """Predictions with the outcome in the last so many hours are left out; infinity: ever before; None: none is."""
    at: Schedule
    own: tuple[ValueOutcome, ...] = ()
    """Outcomes that only this task has; labelling finds them in the events."""

    @model_validator(mode="after")
    def _consistent(self) -> "Task":
        if (self.horizon_hours is None) == (self.until is None):
            msg = f"task {self.name} must have exactly one of horizon_hours and until."
            raise ValueError(msg)
        if self.at.before == "follow_up_end" and self.horizon_hours is None:
            msg = f"task {self.name} must have a horizon to predict before follow_up_end."
            raise ValueError(msg)
        unknown = sorted(set(self.outcomes) - set(self._known()))
        if unknown:
            msg = f"task {self.name} must name outcomes of outcomes.yaml; got {unknown}."
            raise ValueError(msg)
        return self

    def definitions(self) -> list[Outcome]:
        """The outcome definitions behind `outcomes`."""
        known = self._known()
        return [known[name] for name in self.outcomes]

    def _known(self) -> dict[str, Outcome]:
        """Every outcome that the task may name."""
        return outcomes() | {outcome.name: outcome for outcome in self.own}

    def codes(self) -> list[str]:
        """The codes of the outcome events."""
        return [definition.code for definition in self.definitions()]


class _File(BaseModel):
    """The shape of `builtin.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    tasks: list[Task]


def parse_tasks(text: str, place: str = "builtin.yaml") -> dict[str, Task]:
    """Read task definitions from YAML, by name.

    Raises
    ------
    TaskError
        If the text is no YAML or a definition is wrong; the message names the field.
    """
    try:
        parsed = _File.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError) as error:
        msg = f"{place} must hold task definitions; {error}"
        raise TaskError(msg) from error
    return {task.name: task for task in parsed.tasks}


@cache
def builtin_tasks() -> dict[str, Task]:
    """The built-in tasks by name."""
    return parse_tasks(resources.files("sojourn.tasks").joinpath("builtin.yaml").read_text(encoding="utf-8"))


def list_tasks() -> dict[str, str]:
    """Name and description of every built-in task.

    Examples
    --------
    >>> "death-24h" in list_tasks()
    True
    """
    names = {task.name: task.description for task in builtin_tasks().values()}
    return names | {task.name: task.description for task in stay_tasks().values()}


def get_task(name: str) -> Task:
    """The built-in task of that name; those over ICU stays are in `sojourn.tasks.stay_definitions.stay_tasks`.

    Raises
    ------
    TaskError
        If there is none; the message lists those there are.
    """
    if name not in builtin_tasks():
        msg = (
            f"task must be an ACES YAML file, a phrase such as 'first(lactate > 4, 24h)' or one of "
            f"{', '.join(list_tasks())}; got {name!r}."
        )
        raise TaskError(msg)
    return builtin_tasks()[name]
