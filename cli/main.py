"""The `taskforce` command. What a command needs is imported when it runs, so that `--help` is quick."""

import functools
import io
import os
import sys
from collections.abc import Callable
from typing import Final, ParamSpec

import typer

from cli import agents, approvals, audit, run, runs, tenants, token
from cli.exits import EXIT_CODES, Exit, Trouble, exit_of_kind
from cli.options import AsJson
from cli.terminal import write_json
from taskforce.core.domain.errors import DomainError

P = ParamSpec("P")
_WORK: Final = "Missions"
_DECISIONS: Final = "Decisions"
_CATALOG: Final = "The catalog"
_LOG: Final = "The audit log"
_PLATFORM: Final = "The platform"
_HERE: Final = "This machine"


def reported(command: Callable[P, None]) -> Callable[P, None]:
    """Turns what goes wrong in a command into words on stderr, a document with --json, and an exit code.

    Args:
        command: A command's function.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except Trouble as trouble:
            _tell(trouble, as_json=bool(kwargs.get("as_json")))
        except DomainError as error:
            _tell(Trouble(exit_of_kind(error.kind), error.code, error.message), as_json=bool(kwargs.get("as_json")))
        except KeyboardInterrupt:
            raise typer.Exit(int(Exit.INTERRUPTED)) from None
        except BrokenPipeError:
            # Whoever read our output has gone; Python would complain of it once more when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(int(Exit.ERROR)) from None

    return wrapped


def _tell(trouble: Trouble, *, as_json: bool) -> None:
    from cli.render import complain_of

    if as_json:
        write_json(trouble.document())
    complain_of(trouble)
    raise typer.Exit(int(trouble.exit_code)) from None


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
app.command(rich_help_panel=_DECISIONS)(reported(approvals.approvals))
app.command(rich_help_panel=_DECISIONS)(reported(approvals.approve))
app.command(rich_help_panel=_DECISIONS)(reported(approvals.reject))
app.add_typer(agents.app, name="agents", rich_help_panel=_CATALOG)
app.add_typer(audit.app, name="audit", rich_help_panel=_LOG)
app.add_typer(tenants.app, name="tenants", rich_help_panel=_PLATFORM)
app.command(rich_help_panel=_HERE)(reported(token.token))


def main() -> None:
    """Entry point of the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app()


if __name__ == "__main__":
    main()
