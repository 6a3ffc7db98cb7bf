"""What is known of a run that is being followed: pure bookkeeping, from events and from what the gateway lists."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from cli.documents import Document

_ASKING_TOOL = "ask_user"


@dataclass(slots=True)
class ToolView:
    """A tool call as it is shown.

    Attributes:
        arguments: On one line; empty until they are known.
        question: What a person is asked, for a call that asks.
        question_id: By which an answer names that question.
        status: None while it runs.
        began: When its step's reply came.
        duration_ms: Its own time, or else the time from `began` to its end.
    """

    name: str
    began: datetime | None = None
    arguments: str = ""
    question: str = ""
    question_id: str = ""
    status: str | None = None
    observation: str = ""
    duration_ms: int | None = None


@dataclass(slots=True)
class StepView:
    """A step as it is shown.

    Attributes:
        text: The thought, as far as it came; words of a failed attempt are not in it.
        attempt: The attempt that `text` belongs to.
        replied: Whether the thought is whole.
        failures: What went wrong in earlier attempts.
    """

    number: int
    text: str = ""
    attempt: int = 0
    replied: bool = False
    tools: dict[int, ToolView] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    tokens: int = 0

    @property
    def done(self) -> bool:
        """Returns whether the step has a thought and all its tools have ended."""
        return self.replied and all(tool.status for tool in self.tools.values())


@dataclass(frozen=True, slots=True)
class Question:
    """An open request for approval."""

    request_id: str
    step: int
    call: int
    tool: str


class Progress:
    """The progress of a run, built from its events."""

    def __init__(self, run: Document) -> None:
        self.run_id = run.text("run_id")
        self.status = run.text("status") or "queued"
        self.waiting_for = run.text("waiting_for")
        self.steps: dict[int, StepView] = {}
        self.todo: list[tuple[str, str]] = []
        self.requests: dict[str, Question] = {}
        self.connected = True
        self.finished = False
        self.stale = False
        self._taken_up_to = 0
        self._taken_tokens = 0

    @property
    def tokens(self) -> int:
        """Returns the tokens of the steps that the gateway has listed."""
        return self._taken_tokens + sum(step.tokens for step in self.steps.values())

    @property
    def latest(self) -> int:
        """Returns the number of the latest step, 0 before the first."""
        return max(self.steps, default=self._taken_up_to)

    def apply(self, kind: str, data: Document) -> None:
        """Takes in one event.

        Args:
            kind: The event's type.
            data: Its data.
        """
        self.connected = kind != "connection.lost"
        if kind.startswith("run."):
            self._status(kind, data)
        elif kind.startswith("approval."):
            self._approval(kind, data)
        elif kind == "token":
            self._token(data)
        elif kind == "step.replied":
            self._replied(data)
        elif kind == "model.failed":
            self._failed(data)
        elif kind == "tool.finished":
            self._finished(data)

    def merge(self, listed: Iterable[Document]) -> None:
        """Takes in what the gateway lists of steps: it knows arguments, durations and the whole thoughts.

        Args:
            listed: Items of `GET /runs/{id}/steps`.
        """
        self.stale = False
        for item in listed:
            step = self.step(item.number("step"))
            step.text, step.replied = item.text("thought") or step.text, True
            step.tokens = item.child("tokens").number("total")
            step.words = [word.text("text") for word in item.items("words")]
            for call in item.items("tool_calls"):
                _merge_call(step, call)
            if item.raw.get("todo") is not None:
                self.todo = [(entry.text("status"), entry.text("text")) for entry in item.items("todo")]

    def step(self, number: int) -> StepView:
        """Returns the step with this number, made when it is first heard of; one that was taken out stays out."""
        if number <= self._taken_up_to:
            return StepView(number)
        return self.steps.setdefault(number, StepView(number))

    def completed(self) -> list[StepView]:
        """Takes out the steps to which nothing will be added, oldest first.

        The latest step stays while it has no tools: it is the answer, unless another follows.
        """
        latest = max(self.steps, default=0)
        ended = [step for _, step in sorted(self.steps.items()) if step.done and (step.tools or step.number < latest)]
        return self._taken(ended)

    def rest(self) -> list[StepView]:
        """Takes out all steps, oldest first."""
        return self._taken([step for _, step in sorted(self.steps.items())])

    def asked(self) -> list[ToolView]:
        """Returns the calls that wait for a person's message, the one that has waited longest first."""
        if self.status != "waiting":
            return []
        blocked = {(question.step, question.call) for question in self.requests.values()}
        return [
            tool
            for step in self.steps.values()
            for call, tool in step.tools.items()
            if tool.status is None and tool.name == _ASKING_TOOL and (step.number, call) not in blocked
        ]

    def _taken(self, steps: list[StepView]) -> list[StepView]:
        for step in steps:
            del self.steps[step.number]
            self._taken_up_to = max(self._taken_up_to, step.number)
            self._taken_tokens += step.tokens
        return steps

    def _status(self, kind: str, data: Document) -> None:
        self.finished = kind == "run.finished"
        status = kind.removeprefix("run.")
        self.status = data.text("status") or status if self.finished else status.replace("started", "running")
        self.waiting_for = data.text("waiting_for")
        self.stale = True

    def _approval(self, kind: str, data: Document) -> None:
        request_id = data.text("request_id")
        if kind == "approval.requested":
            question = Question(request_id, data.number("step"), data.number("call"), data.text("tool"))
            self.requests[request_id] = question
        elif kind == "approval.closed":
            self.requests.pop(request_id, None)

    def _token(self, data: Document) -> None:
        step, attempt = self.step(data.number("step")), data.number("attempt")
        # Text of an attempt that failed may arrive after the next one has begun.
        if step.replied or attempt < step.attempt:
            return
        if attempt > step.attempt:
            step.attempt, step.text = attempt, ""
        # Cleaned as a whole when shown: an escape sequence may come in two pieces.
        piece = data.raw.get("text")
        step.text += piece if isinstance(piece, str) else ""

    def _replied(self, data: Document) -> None:
        step, text = self.step(data.number("step")), data.text("text")
        # The milestone carries the beginning of the thought only.
        if not step.text.startswith(text):
            step.text = text
        step.replied, self.stale = True, True
        for call, name in enumerate(data.texts("tools"), start=1):
            step.tools.setdefault(call, ToolView(name, data.time("at")))

    def _failed(self, data: Document) -> None:
        step, attempt = self.step(data.number("step")), data.number("attempt")
        step.failures.append(f"attempt {attempt} failed: {data.text('message') or data.text('code')}")
        if attempt >= step.attempt and not step.replied:
            step.attempt, step.text = attempt + 1, ""

    def _finished(self, data: Document) -> None:
        step = self.step(data.number("step"))
        # It may be the first that is heard of the call, after a connection that was lost.
        tool = step.tools.setdefault(data.number("call"), ToolView(data.text("tool")))
        tool.status = data.text("status") or "unknown"
        ended = data.time("at")
        if tool.began and ended and tool.duration_ms is None:
            tool.duration_ms = max(0, round((ended - tool.began).total_seconds() * 1000))
        self.stale = True


def _merge_call(step: StepView, call: Document) -> None:
    tool = step.tools.setdefault(call.number("call"), ToolView(call.text("tool")))
    tool.arguments = call.arguments("arguments")
    tool.question = call.child("arguments").text("question")
    tool.question_id = call.text("question_id")
    tool.status = call.text("status") or tool.status
    tool.observation = call.text("observation")
    duration = call.maybe_number("duration_ms")
    tool.duration_ms = tool.duration_ms if duration is None else duration


def steps_of(listed: Iterable[Document]) -> list[StepView]:
    """Converts the steps of a page to what is shown.

    Args:
        listed: Items of `GET /runs/{id}/steps`.
    """
    progress = Progress(Document())
    progress.merge(listed)
    return [step for _, step in sorted(progress.steps.items())]
