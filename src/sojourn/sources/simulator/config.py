"""Settings of the simulator: what each hospital's patients, practice, measurement policy and charting are like."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sojourn.sources.simulator.catalogue import ADMISSION_KINDS, CONCEPTS, PANELS, UNITS

PolicyKind = Literal["ignorable", "non_ignorable", "protocol"]
CONFIG_NAME = "simulator.yaml"
STEP_HOURS = 0.5
"""Step of the grid on which the latent state moves."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CaseMix(_Settings):
    """Whom the hospital admits."""

    shares: dict[str, float] = Field(default_factory=lambda: dict.fromkeys(ADMISSION_KINDS, 0.2))
    """Relative frequency of each kind of admission (`catalogue.ADMISSION_KINDS`); need not sum to 1."""
    mean_age: float = 64.0
    """Mean of the age distribution before it is cut to 18-95 years."""
    severity: float = 0.0
    """Shift of the shared severity effect, in its standard deviations."""
    comorbidity: float = 0.0
    """Shift of the log-odds of every chronic disease."""


class Practice(_Settings):
    """When the hospital treats: acts on the physiology, so it is part of the truth."""

    map_threshold: float = 63.0
    """Mean arterial pressure (mmHg) below which vasopressors are considered."""
    intubation: float = 0.0
    """Shift of the log-odds of intubating."""
    rrt: float = 0.0
    """Shift of the log-odds of starting renal replacement."""
    antibiotics: float = 0.0
    """Shift of the log-odds of starting antibiotics."""
    discharge: float = 1.0
    """Factor on the discharge hazard."""


class Policy(_Settings):
    """When the hospital measures: leaves the physiology as it is."""

    kind: PolicyKind = "non_ignorable"
    """`ignorable`: looks at the clock and at charted treatments. `protocol`: also at charted vital signs (bundles).
    `non_ignorable`: looks at the latent state itself."""
    vitals_interval_hours: int = Field(default=1, ge=1, le=12)
    """Routine rounds happen at clock hours divisible by this."""
    vitals_missed: float = Field(default=0.07, ge=0, lt=1)
    """Share of single vital signs that a round leaves out."""
    extra_rounds: float = 0.0
    """Log-odds of an extra (half-hourly, or off-interval) round in an average patient; used by `non_ignorable`."""
    slope: float = 0.8
    """How strongly the latent state moves the log-rates of triggered panels (`non_ignorable`). Negative: reversed."""
    morning_hour: int = Field(default=5, ge=0, le=23)
    """Clock hour of the routine laboratory round."""
    routine: dict[str, float] = Field(default_factory=dict)
    """Probability that the routine round includes each panel (`catalogue.PANELS`); panels not named: never routine."""
    triggered: dict[str, float] = Field(default_factory=dict)
    """Rate per day at which each panel is ordered outside the rounds in an average patient."""
    bundle: float = Field(default=0.35, ge=0, le=1)
    """Probability that a charted MAP < 65 mmHg sets off the shock bundle (`protocol`)."""
    urine_interval_hours: int = Field(default=1, ge=1, le=24)
    """Urine is emptied at clock hours divisible by this."""
    slow_vitals_hours: int = Field(default=4, ge=1, le=24)
    """Temperature and GCS are charted at clock hours divisible by this."""
    never_measured: tuple[str, ...] = ()
    """Concepts that nobody measures here."""


class Charting(_Settings):
    """How the hospital writes things down."""

    units: dict[str, str] = Field(default_factory=dict)
    """Unit of a concept, where it is not the canonical one (`catalogue.UNITS` lists the choices)."""
    jitter_minutes: int = Field(default=0, ge=0, le=14)
    """Rounds are charted up to this many minutes after the exact hour."""
    by_device: bool = False
    """Monitor and cuff write with a clock each, so a round falls into two instants."""
    late_rate: float = Field(default=0.02, ge=0, le=1)
    """Share of rounds that are charted 15 to 50 minutes after they were done."""
    outlier_rate: float = Field(default=0.001, ge=0, le=1)
    """Share of values with a transcription error (decimal point, digit dropped)."""
    duplicate_rate: float = Field(default=0.002, ge=0, le=1)
    """Share of rows written twice."""
    missing_time_rate: float = Field(default=0.0001, ge=0, le=1)
    """Share of rows without a time; they cannot become events."""
    limits: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """Reporting limits of the analyser in the concept's unit: values beyond are written as `<low` or `>high`."""


class SiteConfig(_Settings):
    """One hospital."""

    name: str
    index: int = Field(ge=1, le=9_999)
    """Number of the hospital: first part of its subject ids (index x 10^7 + stay) and prefix of its codes."""
    num_stays: int = Field(ge=1, le=9_999_999)
    case_mix: CaseMix = CaseMix()
    practice: Practice = Practice()
    policy: Policy = Policy()
    charting: Charting = Charting()

    @model_validator(mode="after")
    def _names_exist(self) -> "SiteConfig":
        measured = {name for concepts in PANELS.values() for name in concepts} | set(CONCEPTS)
        checks: list[tuple[str, set[str], set[str]]] = [
            ("case_mix.shares", set(self.case_mix.shares), set(ADMISSION_KINDS)),
            ("policy.routine", set(self.policy.routine), set(PANELS)),
            ("policy.triggered", set(self.policy.triggered), set(PANELS)),
            ("policy.never_measured", set(self.policy.never_measured), measured),
            ("charting.units", set(self.charting.units), set(UNITS)),
            ("charting.limits", set(self.charting.limits), set(CONCEPTS)),
        ]
        for field, given, known in checks:
            if unknown := given - known:
                msg = f"{field} must name one of {sorted(known)}; got {sorted(unknown)} in site {self.name}."
                raise ValueError(msg)
        for concept, unit in self.charting.units.items():
            if unit not in UNITS[concept]:
                msg = f"charting.units[{concept}] must be one of {sorted(UNITS[concept])}; got {unit!r}."
                raise ValueError(msg)
        return self


class TruthConfig(_Settings):
    """What is written beside the data about the truth, and for whom."""

    states: bool = True
    states_every_hours: float = Field(default=2.0, gt=0)
    risks: bool = True
    num_replicates: int = Field(default=100, ge=2)
    """Monte-Carlo branches from the state at every prediction time."""
    max_stays: int = Field(default=500, ge=1)
    """The first so many stays of each chosen site."""
    sites: tuple[str, ...] | None = None
    """Names of the chosen sites; null: the last one."""
    first_hours: float = Field(default=24.0, gt=0)
    """First prediction time after ICU admission; a multiple of `STEP_HOURS`."""
    every_hours: float = Field(default=12.0, gt=0)
    """Hours between prediction times."""
    last_hours: float = Field(default=168.0, gt=0)
    """No prediction time later than this."""


class SimulatorConfig(_Settings):
    """A network of hospitals."""

    sites: tuple[SiteConfig, ...] = Field(min_length=1)
    seed: int = Field(default=0, ge=0)
    max_stay_days: float = Field(default=21.0, gt=1, le=90)
    """ICU stays are ended (discharge alive) after so long."""
    chunk_stays: int = Field(default=1024, ge=1, le=8192)
    """Stays simulated together; sets the memory. Another value gives another sample."""
    truth: TruthConfig = TruthConfig()

    @model_validator(mode="after")
    def _sites_differ(self) -> "SimulatorConfig":
        for field in ("name", "index"):
            values = [getattr(site, field) for site in self.sites]
            if len(set(values)) != len(values):
                msg = f"sites must differ in {field}; got {values}."
                raise ValueError(msg)
        unknown = set(self.truth.sites or ()) - {site.name for site in self.sites}
        if unknown:
            msg = f"truth.sites must name sites; got {sorted(unknown)}."
            raise ValueError(msg)
        for field, hours in (("first_hours", self.truth.first_hours), ("every_hours", self.truth.every_hours)):
            if (hours / STEP_HOURS) % 1:
                msg = f"truth.{field} must be a multiple of {STEP_HOURS} h; got {hours}."
                raise ValueError(msg)
        return self
