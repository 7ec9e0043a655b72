"""A site's decision about a job: everything that was signed is shown before anybody agrees to it."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from sojourn.cli.printing import literal, print_table, say

if TYPE_CHECKING:
    from sojourn.federated.config import Privacy
    from sojourn.federated.flower.homes import SiteHome
    from sojourn.federated.governance.manifest import Manifest


def decide(home: "SiteHome", what: str | None, by: str, epsilon: float | None, revoke: bool, yes: bool) -> None:
    """Agree to a job that was offered to a site, or take consent back; the job is shown first."""
    from sojourn.errors import ConfigError

    offered = home.approvals.offered()
    usual = [c for c in offered if revoke or (c.state == "waiting" and c.manifest is not None)]
    found = [c for c in offered if c.digest.startswith(what)] if what else usual
    if len(found) != 1:
        states = ", ".join(f"{c.digest[:12]} {c.name} ({c.stands})" for c in offered) or "none; run the node first"
        raise ConfigError(f"WHAT must be the first digits of one job that was offered; there are: {states}.")
    job = found[0]
    if revoke:
        home.approvals.revoke(job.digest, by=by)
        say(f"consent to {literal(job.name)} was taken back; nothing more of it is answered")
        return
    if job.manifest is None:
        msg = f"a job must be as it was signed, by this version of Sojourn, to be agreed to; {job.digest[:12]} is not."
        raise ConfigError(f"{msg} Ask the coordinator for a new one.")
    _show(job.digest, job.manifest)
    _check_limit(home, job.manifest, epsilon)
    if not yes:
        typer.confirm("Agree to exactly this?", abort=True)
    if epsilon is not None:
        from sojourn.federated.privacy.budget import set_budget

        set_budget(home.private, epsilon)
        told: dict[str, Any] = {"reason": "no limit"} if math.isinf(epsilon) else {"epsilon": epsilon}
        home.log.append("budget_set", **told, by=by)
    home.approvals.approve(job.digest, by=by)
    say(f"{literal(job.name)} ({job.digest[:12]}) is approved; the node answers from now on")


def _check_limit(home: "SiteHome", manifest: "Manifest", epsilon: float | None) -> None:
    """A job without noise costs more than any limit: agreeing to both would be agreeing to nothing."""
    from sojourn.errors import ConfigError
    from sojourn.federated.privacy.budget import read_budget

    limit = read_budget(home.private) if epsilon is None else epsilon
    if manifest.epsilon is None and limit is not None and not math.isinf(limit):
        msg = (
            f"a job without noise must not be limited by an epsilon; the site's limit is {limit:g}. Ask for a job with "
            "`privacy`, or take the limit away with --epsilon inf."
        )
        raise ConfigError(msg)


def _show(digest: str, manifest: "Manifest") -> None:
    """What a site would agree to, in full: what no row says in words stands as a setting that is not the usual one."""
    config = manifest.config
    noise = f"epsilon {manifest.epsilon:g}" if manifest.epsilon else "none: no differential privacy"
    rows = {
        "job": f"{manifest.name} ({digest[:12]})",
        "purpose": manifest.purpose or "-",
        "sites": ", ".join(manifest.sites),
        "questions": ", ".join(manifest.statistics),
        "different ones": f"{manifest.max_questions} of a kind in a round at most",
        "outcomes": ", ".join(manifest.outcomes),
        "rounds": f"{config.rounds} of up to {config.local_steps} steps, {config.strategy.name}",
        **({"of these": f"the last {n} of one step"} if (n := config.settling_rounds) else {}),
        "noise": noise,
        **({} if config.privacy is None else {"its settings": _privacy_of(config.privacy)}),
        "smallest count that leaves": str(config.min_cell),
        "stays at the site": "policy part of the network" if config.personal else "nothing of the network",
        "code": f"Sojourn {manifest.version}, {manifest.code[:12]}, the same as here",
        "until": f"{manifest.expires:%Y-%m-%d %H:%M %Z}",
        **_settings_of(config.model_dump(mode="json", exclude_defaults=True)),
    }
    print_table([{"": name, " ": value} for name, value in rows.items()])


def _settings_of(content: Mapping[str, object], before: str = "set: ") -> dict[str, str]:
    """Every setting that is not the usual one, by its name in the coordinator's file."""
    found: dict[str, str] = {}
    for name, value in content.items():
        found |= _settings_of(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: f"{value}"}
    return found


def _privacy_of(privacy: "Privacy") -> str:
    delta = "one over the patients of the site" if privacy.delta is None else f"{privacy.delta:g}"
    return f"delta {delta}, gradients cut to {privacy.clip:g}, {privacy.patients_per_step} patients a step"
