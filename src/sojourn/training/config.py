"""The settings of a pre-training run, checked when they are read."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sojourn.errors import ConfigError, problems
from sojourn.model import ModelConfig


class PretrainConfig(BaseModel):
    """Settings of `pretrain`; every one is written to ``run.yaml``.

    Examples
    --------
    >>> PretrainConfig(epochs=3).learning_rate
    0.002
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    """Seed of initial weights, order of subjects, dropout and query times."""
    epochs: Annotated[float, Field(gt=0)] = 10.0
    """Passes over the training subjects; may be a fraction."""
    max_steps: Annotated[int, Field(gt=0)] | None = None
    """Optimiser steps at most, whatever `epochs` says."""
    context: Annotated[int, Field(ge=8)] = 256
    """Instants that the network sees at once."""
    instants_per_batch: Annotated[int, Field(ge=16)] = 2048
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    average_decay: Annotated[float, Field(ge=0, lt=1)] = 0.998
    """Decay of the exponential moving average of the weights, which is what is evaluated and kept."""
    site_dropout: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of windows in training whose site is unknown, so that a new hospital is a case that was seen."""
    unknown_share: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Share of (subject, code) pairs in training whose code is replaced by the `//unknown` of its parent, so that
    a code that only a new hospital uses means something to the network."""
    thin_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of subjects in a batch whose measurements are hidden at random, as if another hospital had measured."""
    outcome_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the first-event loss of the outcomes."""
    any_code_weight: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the first-event loss of codes drawn at random, which lets any code be asked."""
    value_query_weight: Annotated[float, Field(ge=0)] = 0.1
    num_outcome_queries: Annotated[int, Field(ge=1)] = 768
    """Moments of a batch at which the outcomes are asked."""
    num_any_codes: Annotated[int, Field(ge=0)] = 8
    num_any_queries: Annotated[int, Field(ge=1)] = 256
    """Of these moments, those at which codes drawn at random are asked too."""
    num_value_queries: Annotated[int, Field(ge=0)] = 512
    outcomes: tuple[str, ...] | None = None
    """Codes whose first event is asked for at every instant; by default all built-in and own outcomes that the store
    holds."""
    held_out_sites: tuple[str, ...] = ()
    """Sites whose subjects are used neither for training nor for tuning."""
    train_splits: tuple[str, ...] = ("train",)
    train_subjects: Annotated[int, Field(gt=0)] | None = None
    """Subjects that are learnt from at most, evenly spread over the store; all by default."""
    tuning_split: str | None = "tuning"
    """Split whose loss chooses the weights; null: a tenth of the training subjects, by a hash of their ids."""
    min_count: Annotated[int, Field(ge=1)] = 20
    """Codes that occur less often in training fall back to their parent."""
    evaluate_every: Annotated[int, Field(gt=0)] = 200
    """Steps between two evaluations on the tuning subjects, each followed by a checkpoint."""
    tuning_subjects: Annotated[int, Field(gt=0)] = 1000
    """Tuning subjects that are evaluated at most."""
    patience: Annotated[int, Field(gt=0)] | None = None
    """Evaluations without a better tuning loss before training stops; never by default."""
    select: Literal["likelihood", "outcomes", "both"] = "both"
    """Which tuning loss chooses the weights that are kept."""
    precision: Literal["bf16-mixed", "32-true"] = "bf16-mixed"
    accelerator: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where the network is trained; `auto` takes a GPU where there is one."""
    num_shares: Annotated[int, Field(gt=0)] = 1
    """Shares that each step is cut into, each with random draws of its own: made one after the other by one process,
    or side by side by several, with the same result. A multiple of the number of processes."""
    cut_weights: bool = False
    """Cut weights, gradients and moments over the processes (FSDP2), for networks that are too large for one; otherwise
    each process holds all of them."""
    model: dict[str, Any] = Field(default_factory=dict)
    """Sizes and switches of the network: see `sojourn.model.ModelConfig`."""

    @model_validator(mode="after")
    def _tuning_is_apart(self) -> "PretrainConfig":
        if self.tuning_split in self.train_splits:
            msg = f"tuning_split must not be one of train_splits; got {self.tuning_split}"
            raise ValueError(msg)
        return self

    @property
    def read_splits(self) -> list[str]:
        """Splits whose subjects are learnt from or choose the weights."""
        return sorted({*self.train_splits, *([] if self.tuning_split is None else [self.tuning_split])})

    def network(self) -> ModelConfig:
        """Settings of the network, checked."""
        settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in self.model.items()}
        known = ModelConfig.__dataclass_fields__
        if unknown := sorted(set(settings) - set(known)):
            msg = f"model has no setting {', '.join(unknown)}; it has {', '.join(known)}. See docs/pretrain.md."
            raise ConfigError(msg)
        try:
            return ModelConfig(**settings)
        except TypeError as error:
            msg = f"model must hold settings of ModelConfig; {error}."
            raise ConfigError(msg) from error


C = TypeVar("C", bound=BaseModel)


def settings_of(kind: type[C], content: object, *, page: str) -> C:
    """Settings from a dictionary (None: the defaults), or as they are.

    Raises
    ------
    ConfigError
        If a setting is unknown or out of range; the message names each of them, and the page that explains them.
    """
    if isinstance(content, kind):
        return content
    try:
        return kind.model_validate(content or {})
    except ValidationError as error:
        msg = f"config must hold settings of {kind.__name__}; {problems(error)}. See {page}."
        raise ConfigError(msg) from error


def read_yaml(path: Path) -> Any:
    """Content of a YAML file of settings; an empty one has none.

    Raises
    ------
    ConfigError
        If there is no such file, or it is not YAML.
    """
    if not path.exists():
        msg = f"config must be a YAML file; {path} does not exist."
        raise ConfigError(msg)
    try:
        return yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        msg = f"config must be a YAML file; reading {path} gave {type(error).__name__}. Correct the file."
        raise ConfigError(msg) from error


def read_config(source: "Path | PretrainConfig | dict[str, Any] | None") -> PretrainConfig:
    """Settings from a YAML file, a dictionary or as they are; the ``run.yaml`` of a run gives those of that run.

    Raises
    ------
    ConfigError
        If a setting is unknown or out of range; the message names each of them.
    """
    if isinstance(source, PretrainConfig):
        return source
    content: Any = source or {}
    if isinstance(source, Path):
        content = read_yaml(source)
        if isinstance(content, dict) and {"config", "versions"} <= content.keys():
            content = content["config"]
    config = settings_of(PretrainConfig, content, page="docs/pretrain.md")
    config.network()
    return config
