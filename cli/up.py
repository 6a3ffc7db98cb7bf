"""`taskforce up`: the whole product on one machine, until Ctrl-C."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated
from urllib.parse import quote

import httpx
import typer

from cli import run
from cli.stack.home import StackHome
from cli.stack.report import ConsoleReport, JsonReport, Report
from cli.stack.supervisor import Programs, Stack
from taskforce.core.domain.errors import Conflict, DomainError
from taskforce.infrastructure.config.settings import Settings

TokenIssuer = Callable[[Settings], str | None]
"""Makes a development token for the sample's user from settings that have a secret."""

SampleRunner = Callable[[str, str, threading.Event], str | None]
"""Runs the sample mission with a live view.

Base URL, token and what ends it early in, the id of the run's workflow out, if it is known.
"""

_TOKEN_SECONDS = 12 * 3600.0
_TOKEN_HINT = "taskforce token --tenant acme-corp --user alice --role operator"  # noqa: S105  a command line


def up(*, as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False) -> None:
    """Starts Temporal, PostgreSQL, worker and gateway here, runs a sample mission, and stays up until Ctrl-C."""
    report: Report = JsonReport() if as_json else ConsoleReport()

    def sample(url: str, token: str, stop: threading.Event) -> str | None:
        return run.run_sample(url, token, as_json=as_json, stop=stop)

    raise typer.Exit(serve(report, issue_token=development_token, run_sample=sample))


def development_token(settings: Settings) -> str | None:
    """Signs a token for the sample's user; None where the profile or the keys are not a developer's."""
    from taskforce.infrastructure.auth.jwt_provider import mint_development_token

    if not (settings.development and settings.jwt_secret):
        return None
    secret = settings.jwt_secret.get_secret_value()
    claims = {"issuer": settings.jwt_issuer, "audience": settings.jwt_audience}
    return mint_development_token(secret, "acme-corp", "alice", ["operator"], _TOKEN_SECONDS, **claims)


def serve(
    report: Report,
    *,
    programs: Programs | None = None,
    issue_token: TokenIssuer | None = None,
    run_sample: SampleRunner | None = None,
) -> int:
    """Runs the stack until a signal or failure ends it, then ends every process that it started.

    Args:
        report: Hears what happens.
        programs: The product's own programs; by default the real ones.
        issue_token: Makes the token that is shown and that the sample uses.
        run_sample: Runs the sample mission, unless TASKFORCE_SAMPLE=0.

    Returns:
        The exit code: 0 after Ctrl-C or SIGTERM, 1 when it did not come up.
    """
    try:
        settings = Settings.from_env()
        home = StackHome(settings.home)
        with _sole(home):
            stack = Stack(settings, home, report, programs or Programs())
            return _serve(stack, report, issue_token, run_sample)
    except DomainError as error:
        report.failed(error.code, error.message)
        return 1


def _serve(stack: Stack, report: Report, issue_token: TokenIssuer | None, run_sample: SampleRunner | None) -> int:
    with _signals(stack, report):
        try:
            settings = stack.bring_up()
            _present(stack, report, settings, issue_token, run_sample)
            stack.watch()
        # Raised by `_signals`, for the orderly end that follows.
        except KeyboardInterrupt:
            pass
        finally:
            stack.ending.set()
            stack.take_down()
    report.note("ended; data stays where it is")
    return 0


def _present(
    stack: Stack, report: Report, settings: Settings, issue_token: TokenIssuer | None, run_sample: SampleRunner | None
) -> None:
    token = issue_token(settings) if issue_token else None
    if not (token and run_sample and settings.sample):
        report.links(links(settings, token, None))
        return

    def sample(runner: SampleRunner, token: str) -> None:
        workflow_id = None
        try:
            workflow_id = runner(settings.url, token, stack.ending)
        except (DomainError, httpx.HTTPError, typer.Exit) as error:
            if not stack.ending.is_set():
                report.note(f"the sample mission did not finish: {error}")
        finally:
            if not stack.ending.is_set():
                report.links(links(settings, token, workflow_id))

    # Beside the watch, which must restart a worker that dies under the sample.
    threading.Thread(target=sample, args=(run_sample, token), name="sample", daemon=True).start()


def links(settings: Settings, token: str | None, workflow_id: str | None) -> dict[str, str]:
    """Lists what a newcomer wants to open or copy next.

    Args:
        settings: Of the running stack.
        token: A development token, if one was made.
        workflow_id: The sample's workflow.
    """
    found = {"Gateway": settings.url, "OpenAPI": f"{settings.url}/docs"}
    if settings.temporal_ui_url:
        ui = f"{settings.temporal_ui_url.rstrip('/')}/namespaces/{settings.temporal_namespace}/workflows"
        found["This run in Temporal" if workflow_id else "Temporal UI"] = (
            f"{ui}/{quote(workflow_id, safe='')}" if workflow_id else ui
        )
    found["Token"] = token or _TOKEN_HINT
    return found


@contextmanager
def _sole(home: StackHome) -> Iterator[None]:
    try:
        with home.occupied():
            yield
    except Conflict as error:
        if error.code != "in_use":
            raise
        state = home.read()
        where = f" at {state.url} (pid {state.supervisor.pid})" if state and state.running() else ""
        raise Conflict(
            "already_up", f"`taskforce up` runs already in {home.path}{where}. Another needs its own TASKFORCE_HOME."
        ) from None


@contextmanager
def _signals(stack: Stack, report: Report) -> Iterator[None]:
    """Turns the first Ctrl-C or SIGTERM into an orderly end, and the second into a quick one."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        if stack.ending.is_set():
            stack.hurry()
            return
        stack.ending.set()
        if stack.interruptible:
            raise KeyboardInterrupt

    # SIGHUP too: a terminal that is closed must not leave servers behind.
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
