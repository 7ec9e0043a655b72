"""The settings of fine-tuning and of adapting to a site, checked when they are read."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

FINETUNE_RATES = {"full": 1e-4, "lora": 5e-4, "head": 3e-4}
ADAPT_RATES = {"site": 2e-2, "all": 3e-4}
ADAPT_EPOCHS = {"site": 5, "all": 1}
LEVELS = ("looking", "levels")
"""Ways to adapt that move the level of risks, and train nothing."""
PAGE = "docs/adaptation.md"
"""Where these settings are explained."""


class DescentConfig(BaseModel):
    """Settings that every kind of further training has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    """Seed of the order of subjects, dropout and what else is drawn."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak rate of AdamW; by default one that goes with the method."""
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    average_decay: Annotated[float, Field(ge=0, lt=1)] = 0.98
    """Decay of the moving average of the weights, which is what is evaluated and kept."""
    instants_per_batch: Annotated[int, Field(ge=16)] = 2048
    """Instants of the histories in a step."""


class FinetuneConfig(DescentConfig):
    """Settings of `finetune`.

    Examples
    --------
    >>> FinetuneConfig(method="lora").rate
    0.0005
    """

    method: Literal["full", "lora", "head"] = "full"
    """Which weights are trained: all that a risk depends on, low-rank changes of them, or the first-event head."""
    epochs: Annotated[int, Field(ge=1)] = 20
    """Passes over the training labels at most."""
    patience: Annotated[int, Field(ge=1)] = 4
    """Epochs without a lower tuning loss before training stops."""
    tuning_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the labelled subjects that is not trained on; their loss chooses the weights."""
    rank: Annotated[int, Field(ge=1)] = 8
    """Rank of the low-rank changes; of `lora` only."""
    level_prior: Annotated[float, Field(ge=0)] = 0.25
    """Standard deviation, on the log-hazard scale, of the last shift of the risk's level; 0 for no shift."""

    @model_validator(mode="after")
    def _used(self) -> "FinetuneConfig":
        if self.method != "lora" and self.rank != type(self).model_fields["rank"].default:
            msg = f"rank is of method lora; got method {self.method}"
            raise ValueError(msg)
        return self

    @property
    def rate(self) -> float:
        """The learning rate in use."""
        return self.learning_rate or FINETUNE_RATES[self.method]


class AdaptConfig(DescentConfig):
    """Settings of `adapt`.

    Examples
    --------
    >>> AdaptConfig(what="all").rate
    0.0003
    """

    what: Literal["site", "all", "looking", "levels"] = "site"
    """The site's vector alone, every weight, or the level of outcomes: of those that depend on how often somebody
    looks, or of treatments too."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Passes over the site's records; by default 5 for the few numbers of a vector, 1 for every weight."""
    outcomes: bool = False
    """Whether the site's target-only events (OUTCOME//...) may be learnt from; an unlabelled hospital has none."""
    max_subjects: Annotated[int, Field(ge=2)] | None = None
    """Subjects that are read at most, chosen by a hash of their ids."""
    level_prior: Annotated[float, Field(ge=0)] = 0.5
    """Standard deviation, on the log-hazard scale, by which hospitals are expected to differ in how often they look, or
    treat; of `looking` and `levels` only."""

    @model_validator(mode="after")
    def _trained(self) -> "AdaptConfig":
        if self.what in LEVELS and (self.epochs, self.learning_rate) != (None, None):
            msg = f"what {self.what} trains nothing; leave out epochs and learning_rate"
            raise ValueError(msg)
        if self.what not in LEVELS and self.level_prior != type(self).model_fields["level_prior"].default:
            msg = f"level_prior is of what {' and '.join(LEVELS)}; got what {self.what}"
            raise ValueError(msg)
        return self

    @property
    def rate(self) -> float:
        """The learning rate in use; 0 where nothing is trained."""
        return self.learning_rate or ADAPT_RATES.get(self.what, 0.0)

    @property
    def num_epochs(self) -> int:
        """The number of epochs in use; 0 where nothing is trained."""
        return self.epochs or ADAPT_EPOCHS.get(self.what, 0)
