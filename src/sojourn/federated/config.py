"""The settings of a federated training."""

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sojourn.training.config import PretrainConfig, read_yaml, settings_of


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FedAvg(_Settings):
    """The weighted mean of the sites' updates (McMahan et al. 2017, arXiv 1602.05629)."""

    name: Literal["fedavg"] = "fedavg"
    rate: Annotated[float, Field(gt=0)] = 1.0
    """Share of the mean update that is made."""


class FedProx(_Settings):
    """FedAvg whose sites are pulled back to where the round began (Li et al. 2020, arXiv 1812.06127)."""

    name: Literal["fedprox"] = "fedprox"
    rate: Annotated[float, Field(gt=0)] = 1.0
    mu: Annotated[float, Field(ge=0)] = 0.01
    """Weight of half the squared distance to the weights of the round's beginning."""


class FedAdam(_Settings):
    """Adam on the mean update (Reddi et al. 2021, arXiv 2003.00295)."""

    name: Literal["fedadam"] = "fedadam"
    rate: Annotated[float, Field(gt=0)] = 3e-3
    beta_1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta_2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    tau: Annotated[float, Field(gt=0)] = 1e-3
    """Degree of adaptivity: added to the root of the second moment."""


class FedYogi(FedAdam):
    """Yogi on the mean update (Reddi et al. 2021): the second moment changes additively."""

    name: Literal["fedyogi"] = "fedyogi"  # type: ignore[assignment]


class DiLoCo(_Settings):
    """Nesterov momentum on the mean update (Douillard et al. 2023, arXiv 2311.08105)."""

    name: Literal["diloco"] = "diloco"
    rate: Annotated[float, Field(gt=0)] = 0.7
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9


class Scaffold(_Settings):
    """Control variates against the drift of the sites (Karimireddy et al. 2020, arXiv 1910.06378)."""

    name: Literal["scaffold"] = "scaffold"
    rate: Annotated[float, Field(gt=0)] = 1.0


class Daisy(_Settings):
    """Models walk from site to site between the means (FedDC, Kamp et al. 2023, arXiv 2110.03469)."""

    name: Literal["daisy"] = "daisy"
    mean_every: Annotated[int, Field(ge=1)] = 5
    """Rounds between two means; in the others each model moves on to another site."""


Strategy = Annotated[FedAvg | FedProx | FedAdam | FedYogi | DiLoCo | Scaffold | Daisy, Field(discriminator="name")]


class Privacy(_Settings):
    """Differential privacy of each patient, whatever else is known (see docs/federated.md for what it covers)."""

    epsilon: Annotated[float, Field(gt=0)] = 8.0
    """Cost of this training to any patient of a site."""
    delta: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Probability with which it may be exceeded; null: one over the number of the site's training patients."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Norm to which the gradient of a patient is cut."""
    patients_per_step: Annotated[int, Field(ge=1)] = 32
    """Patients that a step draws on average."""


class CoTraining(_Settings):
    """Sites teach the shared model by sampled answers about synthetic patients (see `federated/cotraining.py`)."""

    patients: Annotated[int, Field(ge=10)] = 500
    """Synthetic patients that are drawn from the shared model."""
    moments_per_patient: Annotated[int, Field(ge=1)] = 4
    """Moments of each at which the sites are asked."""
    horizon_hours: Annotated[float, Field(gt=0)] = 96.0
    """Synthetic records are cut there."""
    age_years: tuple[float, float] = (62.0, 16.0)
    """Mean and standard deviation of the synthetic patients' ages, which no site tells."""
    time_tick_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds between two times that the synthetic records tell apart."""
    local_steps: Annotated[int, Field(ge=1)] = 50
    """Steps that a site goes on alone before it answers."""
    epochs: Annotated[int, Field(ge=1)] = 10
    """Passes of the shared model over the answers."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3


class Stage(NamedTuple):
    """A round's part in the course of a training."""

    local_steps: int
    """Steps of a site, at most."""
    first_number: int
    """Place of the first of them in the schedule of the learning rate."""
    total: int
    """Steps that this schedule spans."""
    is_settling: bool
    """Whether the plain mean of the updates is taken."""


class FederatedConfig(_Settings):
    """Settings of a federated training; every one is written to ``run.yaml``.

    Examples
    --------
    >>> FederatedConfig(strategy={"name": "diloco"}).strategy.momentum
    0.9
    """

    rounds: Annotated[int, Field(ge=1)] = 20
    local_steps: Annotated[int, Field(ge=1)] = 25
    """Optimiser steps of a site in a round, at most."""
    settling_rounds: Annotated[int, Field(ge=0)] = 0
    """How many of the rounds, the last ones, are of a single step of every site, of which the plain mean is taken: many
    small steps in common find what sites that go far alone between two means do not (Wang and Joshi 2019, arXiv
    1810.08313). The learning rate starts anew there."""
    max_local_epochs: Annotated[float, Field(gt=0)] = 1.0
    """Passes of a site over its own records in a round, at most: a small hospital makes fewer steps."""
    sites_per_round: Annotated[int, Field(ge=1)] | None = None
    """How many sites take part in a round, drawn at random; all by default."""
    weighting: Literal["subjects", "equal"] = "subjects"
    """What a site's update weighs in the mean: its number of training subjects, or the same as every other."""
    strategy: Strategy = FedAvg()
    personal: bool = False
    """Whether the policy part of the network stays at each site (FedFactor): site vectors, the adapters of the gap
    and code heads, and each code's own rhythm of charting."""
    keep_moments: bool = True
    """Whether a site's optimiser goes on from its own moments in the next round."""
    share_moments: bool = True
    """Whether sites send the second moments of their gradients too and go on from the mean of all: twice the bytes,
    and habits in which hospitals differ are learnt as a mixture instead of as those of the median hospital. Never with
    `privacy`: the noise of a small hospital would shorten the steps of all others."""
    send_as: Literal["float32", "float16"] = "float32"
    """How weights and updates travel in the rounds: as float16 they take half of the bytes."""
    cotraining: CoTraining | None = None
    """What the sites teach the shared model after the last round; null: nothing."""
    privacy: Privacy | None = None
    """Noise that hides each patient; null: none."""
    min_cell: Annotated[int, Field(ge=1)] = 5
    """Fewest patients behind any count or bin of values that leaves a site."""
    min_sites: Annotated[int, Field(ge=1)] = 1
    """Fewest usable answers that make a round; with fewer, the training stops and can be resumed."""
    max_update_ratio: Annotated[float, Field(gt=1)] = 10.0
    """An update longer than this many times the median of its round is refused."""
    timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """How long a round waits for an answer."""
    evaluate_every: Annotated[int, Field(ge=1)] = 5
    """Rounds between two evaluations on the sites' tuning subjects."""
    min_count: Annotated[int, Field(ge=1)] = 20
    """Codes that occur less often over all sites fall back to their parent."""
    pretrain: PretrainConfig = PretrainConfig()
    """Network, optimiser and loss, as in `sojourn pretrain`; its epochs and sites are not used."""

    @model_validator(mode="after")
    def _answers_are_not_private(self) -> "FederatedConfig":
        if self.privacy is not None and self.cotraining is not None:
            msg = "privacy does not cover the steps before the answers of cotraining. Leave one of them out"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _private_patients_are_all(self) -> "FederatedConfig":
        if self.privacy is not None and self.pretrain.train_subjects is not None:
            msg = (
                "privacy needs all training patients: of `train_subjects`, whether one of them is there decides which "
                "others are trained on. Leave pretrain.train_subjects out"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _private_steps_are_plain(self) -> "FederatedConfig":
        if self.privacy is not None and isinstance(self.strategy, FedProx | Scaffold):
            msg = f"privacy has no {self.strategy.name}, whose sites change gradients. Choose another strategy"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _settling_is_plain(self) -> "FederatedConfig":
        if self.settling_rounds and (self.privacy is not None or isinstance(self.strategy, Scaffold | Daisy)):
            msg = "settling_rounds are not for privacy, scaffold or daisy. Leave them out"
            raise ValueError(msg)
        if self.settling_rounds >= self.rounds:
            msg = f"settling_rounds must be fewer than rounds; got {self.settling_rounds} of {self.rounds}"
            raise ValueError(msg)
        return self

    def stage(self, round_: int) -> Stage:
        """What a round, the first of which is 0, asks of a site."""
        before = self.rounds - self.settling_rounds
        if round_ < before:
            return Stage(self.local_steps, round_ * self.local_steps, before * self.local_steps, is_settling=False)
        return Stage(1, round_ - before, self.settling_rounds, is_settling=True)

    @property
    def are_moments_shared(self) -> bool:
        """Whether second moments travel."""
        return self.share_moments and self.privacy is None

    @property
    def total_steps(self) -> int:
        """Steps that the first schedule of the learning rate spans."""
        return (self.rounds - self.settling_rounds) * self.local_steps


def read_federated(source: "Path | FederatedConfig | dict[str, Any] | None") -> FederatedConfig:
    """Settings from a YAML file, a dictionary, or as they are.

    Raises
    ------
    ConfigError
        If a setting is unknown or out of range; the message names each of them.
    """
    content = read_yaml(source) if isinstance(source, Path) else source
    return settings_of(FederatedConfig, content, page="docs/federated.md")
