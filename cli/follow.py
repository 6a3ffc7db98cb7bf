"""Follows a run to its end: reads its events, asks the person at the terminal, handles Ctrl-C."""

import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rich.console import Console

from cli.documents import Document
from cli.events import EventReader, EventStream, document_of
from cli.exits import FINAL, Exit, Trouble, exit_of_run
from cli.gateway import Gateway
from cli.progress import Progress, ToolView
from cli.terminal import complain, one_line
from cli.views import LiveView, View, answering, decisions, stdin_ready

_TICK_SECONDS: Final = 0.1
_STEPS_AT_ONCE: Final = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of following a run.

    Attributes:
        exit_code: What a script sees.
        run: The run as it was last seen.
    """

    exit_code: Exit
    run: Document

    @property
    def workflow_id(self) -> str | None:
        """Returns the id of the run's workflow in Temporal."""
        tenant, _, session = self.run.text("session_id").partition(":")
        return f"{tenant}:run:{self.run.text('run_id')}" if tenant and session else None


class _Left(Exception):
    """Raised when the person leaves; the run goes on."""


class _StepPages:
    """Reads a run's steps again from the page on which the latest stand."""

    def __init__(self, gateway: Gateway, run_id: str) -> None:
        self._gateway = gateway
        self._path = f"/runs/{run_id}/steps"
        self._cursor: str | None = None

    def latest(self) -> list[Document]:
        """Fetches the steps from that page on; few, unless many came since."""
        found: list[Document] = []
        while True:
            page = self._gateway.get(self._path, limit=_STEPS_AT_ONCE, cursor=self._cursor)
            found += page.items("items")
            following = page.raw.get("next_cursor")
            # A cursor that repeats itself would be followed without end.
            if not isinstance(following, str) or following == self._cursor:
                return found
            self._cursor = following


class Follower:
    """Follows one run.

    Args:
        gateway: Where it is.
        run: The run, or the answer to its start.
        view: Shows it.
        ask: Whether somebody is at the terminal who can answer.
        cancel_on_interrupt: Ctrl-C cancels the run instead of leaving it.
        stop: Ends the following from another thread.
    """

    def __init__(
        self,
        gateway: Gateway,
        run: Document,
        view: View,
        *,
        ask: bool = False,
        cancel_on_interrupt: bool = False,
        stop: threading.Event | None = None,
    ) -> None:
        self._gateway = gateway
        self._run = run
        self._run_id = run.text("run_id")
        self._view = view
        self._ask = ask
        self._cancel_on_interrupt = cancel_on_interrupt
        self._stop = stop or threading.Event()
        self._cancelled = False
        self._progress = Progress(run)
        self._pages = _StepPages(gateway, self._run_id)
        self._reader = EventReader(EventStream(gateway, self._run_id))
        # By identity: an older gateway's question has no id.
        self._declined: set[int] = set()

    def follow(self) -> Outcome:
        """Shows the run until it ends or the person leaves.

        Raises:
            Trouble: The gateway refused, or was away for too long; the run goes on.
        """
        self._reader.start()
        try:
            return self._patiently()
        except _Left:
            return Outcome(Exit.INTERRUPTED, self._run)
        except Trouble as trouble:
            trouble.hint = f"The run goes on: {self.way_back()}. {trouble.hint}".strip()
            raise
        finally:
            self._reader.stop()
            self._view.close()

    def way_back(self) -> str:
        """Returns the command that follows the run again."""
        return f"taskforce show {self._run_id} --follow"

    def _patiently(self) -> Outcome:
        while True:
            try:
                while not self._progress.finished:
                    self._advance()
                return self._end()
            except KeyboardInterrupt:
                self._interrupted()

    def _advance(self) -> None:
        if self._stop.is_set():
            raise _Left
        event = self._reader.next(_TICK_SECONDS)
        if event:
            data = document_of(event)
            self._progress.apply(event.type, data)
            self._view.event(event.type, data)
        if self._reader.caught_up():
            if self._progress.stale:
                self._refresh()
            self._view.show(self._progress)
            self._offer()

    def _refresh(self) -> None:
        try:
            self._progress.merge(self._pages.latest())
        except Trouble as trouble:
            # The events go on telling what matters; details come with the next ones.
            self._progress.stale = False
            if trouble.exit_code not in {Exit.UNAVAILABLE, Exit.ERROR}:
                raise

    def _end(self) -> Outcome:
        run = self._gateway.get(f"/runs/{self._run_id}")
        self._refresh()
        self._run = run
        self._view.ended(self._progress, run)
        return Outcome(exit_of_run(run.text("status")), run)

    def _offer(self) -> None:
        asked = next(iter(self._progress.asked()), None)
        if asked is None or not self._ask or id(asked) in self._declined or not isinstance(self._view, LiveView):
            return
        with self._view.suspended() as console:
            self._view.recall(self._progress)
            console.print(
                f"\n? {one_line(asked.question or 'The agent asks for an answer.', 2000)}", style="bold yellow"
            )
            text = self._read_line(console, "answer (Ctrl-D: later): ", asked)
        if text is None:
            self._declined.add(id(asked))
            console.print(f"  later: {answering(self._run_id, asked)}", style="cyan", soft_wrap=True)
        elif text:
            self._declined.add(id(asked))
            named = {"question_id": asked.question_id} if asked.question_id else {}
            self._gateway.post(f"/runs/{self._run_id}/messages", {"text": text, **named})

    def _read_line(self, console: Console, prompt: str, tool: ToolView | None = None) -> str | None:
        """Reads a line while the run may go on without it.

        Args:
            console: A terminal's.
            prompt: What is asked for.
            tool: The call that waits for the line; without it is not wanted any more.

        Returns:
            The line; None at the end of the input; empty when it is not wanted any more.
        """
        _forget_typed()
        while True:
            console.print(prompt, end="", style="bold")
            sys.stdout.flush()
            while not stdin_ready(_TICK_SECONDS):
                if tool is not None and not self._still_asked(console, tool):
                    console.print("\n  answered elsewhere, or no longer needed", style="dim")
                    return ""
            line = sys.stdin.readline()
            if not line:
                console.print()
                return None
            if line.strip() or tool is None:
                return line.strip()

    def _still_asked(self, console: Console, tool: ToolView) -> bool:
        event = None if self._reader.caught_up() else self._reader.next(0)
        if event:
            data = document_of(event)
            self._progress.apply(event.type, data)
            self._view.event(event.type, data)
            if event.type == "approval.requested":
                console.print()
                for line in decisions(self._progress):
                    console.print(line, soft_wrap=True)
                console.print("answer (Ctrl-D: later): ", end="", style="bold")
        return any(one is tool for one in self._progress.asked()) and not self._progress.finished

    def _interrupted(self) -> None:
        try:
            if self._cancel_on_interrupt and not self._cancelled:
                self._cancel()
            elif not isinstance(self._view, LiveView) or not self._ask or self._cancelled:
                self._leave()
            else:
                self._choose(self._view)
        # A second Ctrl-C, while the first one's choice is put, leaves.
        except KeyboardInterrupt:
            self._leave()

    def _choose(self, view: LiveView) -> None:
        with view.suspended() as console:
            console.print("\nInterrupted; the run goes on.", style="bold")
            choice = self._read_line(console, "[d]etach, [c]ancel the run, [f]ollow on? [d] ")
        match (choice or "d")[:1].lower():
            case "c":
                self._cancel()
            case "f":
                return
            case _:
                self._leave()

    def _cancel(self) -> None:
        self._cancelled = True
        self._view.note("cancelling; Ctrl-C once more leaves at once")
        try:
            self._gateway.post(f"/runs/{self._run_id}/cancel")
        except Trouble as trouble:
            # A conflict says that the run has ended meanwhile, and its events say how.
            if trouble.exit_code != Exit.CONFLICT:
                raise

    def _leave(self) -> None:
        self._view.close()
        complain(
            f"\nLeft; the run goes on.\n  come back: {self.way_back()}\n  end it:    taskforce cancel {self._run_id}"
        )
        raise _Left


def follow_mission(
    url: str,
    token: str,
    mission: str,
    view: View,
    *,
    order: Mapping[str, object] | None = None,
    stop: threading.Event | None = None,
) -> Outcome:
    """Starts a mission and shows it to its end, asking nobody anything.

    Args:
        url: The gateway's base URL.
        token: A bearer token.
        mission: What is to be done.
        view: Shows it.
        order: Further members of the body of `POST /agents/execute`.
        stop: Ends the following early; the run goes on.

    Raises:
        Trouble: The gateway refused, or was away for too long.
    """
    gateway = Gateway(url, token)
    try:
        run = gateway.start({**(order or {}), "mission": mission})
        run = gateway.get(f"/runs/{run.text('run_id')}")
        view.opened(run)
        return Follower(gateway, run, view, stop=stop).follow()
    finally:
        gateway.close()


def is_final(run: Document) -> bool:
    """Returns whether the run of this document has ended."""
    return run.text("status") in FINAL


def _forget_typed() -> None:
    """Drops what was typed before the question was there."""
    import termios

    try:
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
    except (termios.error, OSError, ValueError):
        return
