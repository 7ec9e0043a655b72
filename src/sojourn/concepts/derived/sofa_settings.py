"""What can be chosen about the SOFA score."""

from dataclasses import dataclass, field
from typing import Literal

from sojourn.concepts.derived.rrt import RRT
from sojourn.concepts.derived.treatments import EpisodeSettings
from sojourn.concepts.derived.urine import UrineSettings
from sojourn.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class SofaSettings:
    """How the six components are found; hours are spans in which a charted value still holds."""

    every_hour: bool = False
    """Also tell the score at every full hour of the stay, not only where it changes."""
    fio2_hours: float = 6
    """A charted FiO2 goes with blood gases of the next hours."""
    fio2_fallback: Literal["unobserved", "room_air", "room_air_always"] = "room_air"
    """Blood gas without FiO2: not scored; on room air unless ventilated; on room air even if ventilated (ricu)."""
    use_spo2: bool = False
    """Where no blood gas was taken in 24 h, score SpO2 / FiO2 (SpO2 up to 97 %) as Pandharipande et al. (2009)."""
    needs_ventilation: bool = True
    """Without ventilation, respiration has 2 points at most."""
    gcs_hours: float = 4
    """Eye, motor and verbal answers within so long are added up."""
    gcs_when_ventilated: Literal["as_charted", "verbal_normal", "normal", "unobserved"] = "as_charted"
    """Under invasive ventilation nobody speaks, and most are sedated: keep what was charted, take the verbal answer as
    5, the whole scale as 15, or as not observed."""
    min_infusion_hours: float = 1
    """Catecholamines count once they have run for so long, as Vincent et al. have it."""
    open_hours: float = 24
    """The rate of an infusion without a further mark counts for so long."""
    urine_hours: float = 12
    """So much of a day must be covered by collections for its urine to be scored."""
    urine: UrineSettings = field(default_factory=UrineSettings)
    rrt_is_four: bool = False
    """Renal replacement therapy counts 4 points; the original score does not know it."""
    rrt: EpisodeSettings = RRT

    def __post_init__(self) -> None:
        hours = (self.fio2_hours, self.gcs_hours, self.open_hours, self.urine_hours)
        if min(hours) <= 0 or self.min_infusion_hours < 0 or self.urine_hours > 24:
            msg = f"hours must be positive, min_infusion_hours not negative, urine_hours at most 24; got {self}."
            raise ConfigError(msg)
        choices = {
            "fio2_fallback": ("unobserved", "room_air", "room_air_always"),
            "gcs_when_ventilated": ("as_charted", "verbal_normal", "normal", "unobserved"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                msg = f"{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}."
                raise ConfigError(msg)
