"""The `taskforce` command. What a command needs is imported when it runs, so that `--help` is quick."""

import sys
from collections.abc import Sequence
from typing import Final

import typer

from cli import (
    agents,
    approvals,
    audit,
    budgets,
    costs,
    kill_switches,
    prices,
    run,
    runs,
    sla,
    streams,
    tenants,
    token,
    usage,
)
from cli.exits import EXIT_CODES, Exit, Trouble
from cli.options import AsJson
from cli.reporting import reported
from cli.terminal import complain, write_json

_WORK: Final = "Missions"
_DECISIONS: Final = "Decisions"
_CATALOG: Final = "The catalog"
_LOG: Final = "The audit log"
_COSTS: Final = "Usage and costs"
_PLATFORM: Final = "The platform"
_HERE: Final = "This machine"


app = typer.Typer(
    name="taskforce",
    help="Runs missions on PyTaskforce Enterprise, and the local stack that serves them.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(rich_help_panel=_HERE)
@reported
def up(*, as_json: AsJson = False) -> None:
    """Starts everything here, runs a sample mission, and stays up until Ctrl-C."""
    from cli.up import up as command

    command(as_json=as_json)


@app.command(rich_help_panel=_HERE)
@reported
def doctor(*, as_json: AsJson = False) -> None:
    """Says what is missing here and how to get it; exit code 1 if something that is needed is."""
    from cli.doctor import doctor as command

    command(as_json=as_json)


app.command(rich_help_panel=_WORK)(reported(run.run))
app.command(rich_help_panel=_WORK)(reported(runs.runs))
app.command(rich_help_panel=_WORK)(reported(runs.show))
app.command(rich_help_panel=_WORK)(reported(runs.cancel))
app.command(rich_help_panel=_WORK)(reported(runs.pause))
app.command(rich_help_panel=_WORK)(reported(runs.resume))
app.command(rich_help_panel=_WORK)(reported(runs.say))
app.add_typer(approvals.app, name="approvals", rich_help_panel=_DECISIONS)
app.command(rich_help_panel=_DECISIONS)(reported(approvals.approve))
app.command(rich_help_panel=_DECISIONS)(reported(approvals.reject))
app.add_typer(agents.app, name="agents", rich_help_panel=_CATALOG)
app.add_typer(audit.app, name="audit", rich_help_panel=_LOG)
app.command(rich_help_panel=_COSTS)(reported(usage.usage))
app.add_typer(costs.app, name="costs", rich_help_panel=_COSTS)
app.add_typer(budgets.app, name="budgets", rich_help_panel=_COSTS)
app.add_typer(prices.app, name="prices", rich_help_panel=_COSTS)
app.add_typer(kill_switches.app, name="kill-switches", rich_help_panel=_PLATFORM)
app.add_typer(tenants.app, name="tenants", rich_help_panel=_PLATFORM)
app.command(rich_help_panel=_PLATFORM)(reported(sla.sla))
app.command(rich_help_panel=_HERE)(reported(token.token))


def main() -> None:
    """Runs the command line; the program's entry point."""
    streams.prepare()
    try:
        try:
            _require_text(sys.argv[1:])
            app()
        finally:
            sys.stdout.flush()  # here, where it can be told that it failed
    except streams.OutputLost as lost:
        streams.abandon_output()
        if not lost.reader_left:
            complain(str(lost))
        sys.exit(int(Exit.ERROR))


def _require_text(arguments: Sequence[str]) -> None:
    from cli.render import complain_of

    try:
        streams.require_text(arguments)
    except Trouble as trouble:
        if "--json" in arguments:
            write_json(trouble.document())
        complain_of(trouble)
        sys.exit(int(trouble.exit_code))


if __name__ == "__main__":
    main()
