"""Options that many commands have, described once."""

from typing import Annotated

import typer

from cli.exits import Exit, Trouble

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="TASKFORCE_URL",
        help="The gateway; by default that of the local `taskforce up`, else http://127.0.0.1:8000.",
        show_default=False,
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="TASKFORCE_TOKEN",
        help="Bearer token; a local development gateway gets one made for it.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout and nothing else there.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="CSV on stdout and nothing else there.")]
RunId = Annotated[
    str, typer.Argument(metavar="RUN", help="The run's id, or a unique beginning of 8 characters or more.")
]
RequestId = Annotated[
    str, typer.Argument(metavar="ID", help="The request's id, or a unique beginning of 8 characters or more.")
]
Comment = Annotated[str | None, typer.Option("--comment", "-m", help="Why; kept with the decision.")]


def check_one_form(*, as_json: bool, as_csv: bool) -> None:
    """Requires that a command is asked for one form of output.

    Raises:
        Trouble: `options_conflict`.
    """
    if as_json and as_csv:
        raise Trouble(Exit.USAGE, "options_conflict", "Ask for JSON or for CSV, not for both.")
