"""Commands of a real federated training: one coordinator, one node at each hospital."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sojourn.cli.light import LightCommand, LightGroup
from sojourn.cli.options import AsJson
from sojourn.cli.printing import literal, print_record, print_table, say

if TYPE_CHECKING:
    from sojourn.federated.flower.homes import CoordinatorHome, SiteHome

federate = typer.Typer(
    name="federate",
    cls=LightGroup,
    help="Train one model at several hospitals; no record leaves any of them.\n\n"
    "Coordinator: [b]init[/b], [b]approve[/b] each site, [b]run[/b]. Hospital: [b]join[/b], [b]run[/b] the node, "
    "[b]approve[/b] the job. docs/federated.md takes ten minutes.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Home = Annotated[Path, typer.Argument(help="Folder of the coordinator or of the site.")]


def init(
    home: Annotated[Path, typer.Argument(help="Folder of the coordinator to make.")],
    address: Annotated[str, typer.Option(help="host:port under which the hospitals reach the coordinator.")],
    listen: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all networks.")] = "127.0.0.1",
) -> None:
    """Make a coordinator: its keys, its certificates, and the invitation that hospitals need.

    Example: [dim]sojourn federate init coordinator --address fl.example.org:9092 --listen 0.0.0.0[/]
    """
    from sojourn.federated.flower.homes import INVITATION, init_coordinator

    made = init_coordinator(home, address=address, listen=listen)
    say(f"send {home / INVITATION} to the hospitals; tell them by telephone: {made.fingerprint}")


def join(
    home: Annotated[Path, typer.Argument(help="Folder of the site to make; it stays on the node's machine.")],
    name: Annotated[str, typer.Option(help="The hospital, as its store calls it.")],
    store: Annotated[Path, typer.Option(help="Event store made by `sojourn build`.")],
    invitation: Annotated[Path, typer.Option(help="invitation.json of the coordinator.")],
) -> None:
    """Make a hospital's site: its keys, the coordinator it trusts, and the registration that the coordinator needs.

    Example: [dim]sojourn federate join site --name rowan --store stores/rowan --invitation invitation.json[/]
    """
    from sojourn.federated.flower.homes import REGISTRATION, join_site

    made = join_site(home, name=name, store=store, invitation=invitation)
    say(f"the invitation's fingerprint is {made.fingerprint_of_coordinator}; compare it by telephone")
    say(f"send {home / REGISTRATION} to the coordinator; tell its fingerprint by telephone: {made.fingerprint}")


def approve(
    home: _Home,
    what: Annotated[
        str | None,
        typer.Argument(
            help="Coordinator: a registration.json. Site: first digits of a job; the waiting one by default."
        ),
    ] = None,
    by: Annotated[str, typer.Option(help="Site: who decides, for the audit log.")] = "",
    epsilon: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Site: what all trainings together may cost any of its patients; none without noise is then allowed. "
            "`inf` takes the limit away.",
        ),
    ] = None,
    revoke: Annotated[bool, typer.Option("--revoke", help="Site: take consent to a job back.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Let a hospital in (coordinator), or agree to a job (site): it is shown first, and nothing runs without.

    Example: [dim]sojourn federate approve coordinator registration.json[/]

    Example: [dim]sojourn federate approve site --by "Data access committee, minute 17"[/]
    """
    from sojourn.federated.flower.homes import CoordinatorHome, open_home

    opened = open_home(home)
    if isinstance(opened, CoordinatorHome):
        _refuse_given("of a site's decision", {"--by": by, "--epsilon": epsilon is not None, "--revoke": revoke})
        _register(opened, what, yes)
    else:
        from sojourn.cli.consent import decide

        if revoke:
            _refuse_given("of consent", {"--epsilon": epsilon is not None})
        decide(opened, what, by or _user(), epsilon, revoke, yes)


def run(
    home: _Home,
    run: Annotated[Path | None, typer.Argument(help="Coordinator: folder of the run.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="Coordinator: YAML file of settings, such as `rounds: 20`.")
    ] = None,
    purpose: Annotated[str, typer.Option(help="Coordinator: what the model is for; the hospitals read it.")] = "",
    min_consents: Annotated[
        int | None, typer.Option(min=1, help="Coordinator: hospitals that must agree; `min_sites` by default.")
    ] = None,
    patience: Annotated[
        float | None, typer.Option(help="Coordinator: seconds to wait for the hospitals to agree; 3600 by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the node of a site, or lead a training; both go on where they were stopped.

    Example: [dim]sojourn federate run site[/]

    Example: [dim]sojourn federate run coordinator runs/five --config federated.yaml --purpose "Early warning"[/]
    """
    from sojourn.federated.flower.homes import SiteHome, open_home

    opened = open_home(home)
    if isinstance(opened, SiteHome):
        from sojourn.federated.flower.deployment import run_node

        given = {"RUN": run, "--config": config, "--purpose": purpose, "--json": as_json}
        _refuse_given("of a coordinator", given | {"--min-consents": min_consents, "--patience": patience is not None})
        run_node(opened)
        return
    if run is None:
        raise typer.BadParameter("a coordinator needs the folder of a run", param_hint="RUN")
    from sojourn.federated.config import read_federated
    from sojourn.federated.flower.deployment import run_coordinator

    settings = None if config is None else read_federated(config)
    limits: dict[str, Any] = {"min_consents": min_consents}
    if patience is not None:
        limits |= {"patience_s": patience}
    print_record(run_coordinator(opened, run, config=settings, purpose=purpose, **limits), as_json)


def status(home: _Home) -> None:
    """Show who is registered or what was offered, and what the privacy ledger and the audit log say.

    Example: [dim]sojourn federate status site[/]
    """
    from sojourn.federated.flower.homes import CoordinatorHome, open_home
    from sojourn.federated.governance.keys import fingerprint

    opened = open_home(home)
    if isinstance(opened, CoordinatorHome):
        rows = [{"site": n, "fingerprint": fingerprint(told)} for n, told in opened.registrations().items()]
        print_table(rows, title="registered sites")
        say(f"fingerprint of its invitation: {opened.fingerprint}")
        say(f"listens on {opened.host}:{opened.port} while `sojourn federate run` runs")
    else:
        _say_site(opened)
    for line in opened.log.lines()[-5:]:
        words = [f"{name} {str(line[name])[:16]}" for name in ("site", "kind", "round", "reason", "by") if name in line]
        say(f"[dim]{literal(line['time'][:19])}[/] {literal(line['event'] + ' ' + ', '.join(words))}")


def audit(
    home: _Home,
    against: Annotated[
        Path | None, typer.Option(help="Site: audit.jsonl of the coordinator, which was told this log's last lines.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the audit log: every line, and that none was changed, moved or removed.

    A log that was rewritten from its first line looks whole: --against compares it with what the coordinator was told.

    Example: [dim]sojourn federate audit site --against coordinator-audit.jsonl[/]
    """
    from sojourn.errors import ConfigError, DataError
    from sojourn.federated.flower.homes import SiteHome, open_home
    from sojourn.federated.governance.audit import AuditLog

    opened = open_home(home)
    report = opened.log.verify()
    problems = report.problems
    if against is not None:
        if not isinstance(opened, SiteHome) or not against.is_file():
            raise ConfigError(f"--against compares a site's log with a coordinator's file; got {home} and {against}.")
        problems += opened.log.missing_from(AuditLog(against), opened.name)
    if problems:
        msg = f"{opened.log.path} must be as it was written; " + "; ".join(problems[:5]) + ". Compare it with a backup."
        raise DataError(msg)
    print_record({"lines": report.num_lines, "last_line": report.head, "result": "whole"}, as_json)


def evaluate(
    home: Annotated[Path, typer.Argument(help="Folder of the coordinator.")],
    run: Annotated[Path, typer.Argument(help="Folder of a finished run of `sojourn federate run`.")],
    task: Annotated[str | None, typer.Option(help="Built-in task to rank and calibrate; see `sojourn tasks`.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for a site.")] = 600.0,
    as_json: AsJson = False,
) -> None:
    """Evaluate a finished run at each of its sites; only figures over enough patients come back.

    Without a task, bits per event on the sites' tuning subjects; with one, AUROC and expected:observed with intervals
    on their held-out patients.

    Example: [dim]sojourn federate evaluate coordinator runs/five --task death-48h[/]
    """
    from dataclasses import asdict

    from sojourn.federated.flower.deployment import evaluate_run, pooled_bits, validate_run
    from sojourn.federated.flower.homes import open_coordinator
    from sojourn.federated.validation import mean_auroc

    if task is not None:
        figures = validate_run(open_coordinator(home), run, task, timeout_s=timeout)
        table = [asdict(one) for one in figures]
        num_told = sum(one.told == "ok" for one in figures)
        record = {"task": task, "mean_auroc": mean_auroc(figures), "num_sites": num_told}
        print_record(record | {"sites": table}, as_json, table=table)
        return
    scores = evaluate_run(open_coordinator(home), run, timeout_s=timeout)
    told = sum(score.told == "ok" for score in scores)
    record = {"bits_per_event": pooled_bits(scores), "num_sites": told}
    table = [asdict(score) for score in scores]
    print_record(record | {"sites": table}, as_json, table=table)


def release(
    home: Annotated[Path, typer.Argument(help="Folder of the coordinator.")],
    run: Annotated[Path, typer.Argument(help="Folder of a finished run of `sojourn federate run`.")],
    out: Annotated[Path, typer.Argument(help="Folder of the run to hand on.")],
    limit: Annotated[
        float, typer.Option(min=0.5, max=1, help="Keep the run back where a site's AUROC is surely above this.")
    ] = 0.6,
    allow_unchecked: Annotated[
        bool, typer.Option("--allow-unchecked", help="Let it go though some sites did not answer.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for a site.")] = 600.0,
    as_json: AsJson = False,
) -> None:
    """Check at every site what a finished run betrays of its patients, and copy what may be handed on.

    Each site tries to tell its training patients from its held-out ones by the weights, and tells the AUROC alone. The
    copy has no log, no checkpoints, and no names and vectors of hospitals; release.json says what was found.

    Example: [dim]sojourn federate release coordinator runs/five released/five[/]
    """
    from dataclasses import asdict

    from sojourn.federated.flower.deployment import release_run
    from sojourn.federated.flower.homes import open_coordinator

    report = release_run(
        open_coordinator(home), run, out, limit=limit, allow_unchecked=allow_unchecked, timeout_s=timeout
    )
    print_record(asdict(report), as_json, table=[asdict(one) for one in report.sites])


def own(
    home: Annotated[Path, typer.Argument(help="Folder of the site.")],
    run: Annotated[Path, typer.Argument(help="Finished run, as the coordinator hands it out.")],
    new_run: Annotated[Path, typer.Argument(help="Folder of the site's own run.")],
    as_json: AsJson = False,
) -> None:
    """Join a finished run with the part of the network that stayed at this site (`personal: true`).

    The new run is an ordinary one: ask it, evaluate it, adapt it. It stays at the site.

    Example: [dim]sojourn federate own site runs/five runs/five-here[/]
    """
    from sojourn.federated.flower.homes import open_site
    from sojourn.federated.own import own_run

    at = open_site(home)
    report = own_run(run, at.private, new_run, site=at.name)
    at.log.append("own_run", round=report.round)
    print_record(report, as_json)


def attack(
    out: Annotated[
        Path,
        typer.Argument(help="Folder for trainings, attacks.json and attacks.html; it holds a copy of the records."),
    ],
    datasets: Annotated[list[Path], typer.Argument(help="MEDS data sets; all their sites take part.")],
    site: Annotated[str, typer.Option(help="The hospital whose patients are attacked.")],
    config: Annotated[Path | None, typer.Option(help="YAML file of settings: the training that you plan.")] = None,
    epsilon: Annotated[
        list[float] | None,
        typer.Option(min=0, help="Once for each training; 0 is one without noise. 0 and 8 if unset."),
    ] = None,
    canaries: Annotated[int, typer.Option(min=10, help="Made-up patients; a coin plants each.")] = 100,
    seed: Annotated[int, typer.Option(help="Of groups, coins and canaries.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Rehearse a training in this process and attack it: who was trained on, and what does an update tell?

    Nothing is sent and no node is needed: do it on simulated or on your own records before a site agrees to a job. A
    third of the hospital's patients are trained on; what the attacks find holds for that many and that many steps.

    Example: [dim]sojourn federate attack attacks meds --site rowan --config planned.yaml --epsilon 0 --epsilon 8[/]
    """
    from sojourn.federated.attacks.rehearsal import rehearse
    from sojourn.federated.config import read_federated
    from sojourn.report.attacks import attack_page, name_of, verdict

    settings = read_federated(config)
    epsilons = [value or None for value in (epsilon or [0.0, 8.0])]
    report = rehearse(out, datasets, site=site, config=settings, epsilons=epsilons, num_canaries=canaries, seed=seed)
    page = attack_page(report, out / "attacks.html")
    table = [
        {
            "training": name_of(one),
            "bits_per_event": one.bits_per_event and round(one.bits_per_event, 3),
            "patients": f"{one.patients.value:.3f}, {verdict(one.patients)}",
            "canaries": f"{one.canaries.value:.3f}, {verdict(one.canaries)}",
            "epsilon_at_least": round(one.least_epsilon, 2),
        }
        for one in report.trainings
    ]
    print_record({"page": str(page), "site": site, "trainings": table}, as_json, table=table)


def _refuse_given(whose: str, given: Mapping[str, object]) -> None:
    """Refuse what the folder's party has no use for: ignored, it would look as if it had been obeyed."""
    if names := [name for name, value in given.items() if value]:
        raise typer.BadParameter(f"it is {whose}; leave it out here", param_hint=", ".join(names))


def _register(home: "CoordinatorHome", what: str | None, yes: bool) -> None:
    from sojourn.federated.flower.homes import read_registration
    from sojourn.federated.governance.keys import fingerprint

    if what is None:
        raise typer.BadParameter("a coordinator needs the registration.json of a site", param_hint="WHAT")
    told = read_registration(Path(what))
    say(f"the registration of {told['name']} has the fingerprint {fingerprint(told)}; compare it by telephone")
    if not yes:
        typer.confirm("Let it in?", abort=True)
    say(f"{home.admit(told)} is registered")


def _say_site(home: "SiteHome") -> None:
    from sojourn.federated.privacy.ledger import balance_of

    jobs = [{"job": c.digest[:12], "name": c.name, "state": c.stands} for c in home.approvals.offered()]
    print_table(jobs, title=f"jobs offered to {home.name}")
    say(f"node of {literal(home.name)}: connects outward to {literal(home.address)}")
    balance = balance_of(home.private)
    if balance is None:
        say("privacy ledger: nothing was spent")
    else:
        say(f"privacy ledger: epsilon {balance.epsilon:.2f} of {balance.budget:g} spent (delta {balance.delta:.1e})")


def _user() -> str:
    import getpass

    return getpass.getuser()


for _command in (init, join, approve, run, status, own, audit, evaluate, release, attack):
    federate.command(cls=LightCommand)(_command)
