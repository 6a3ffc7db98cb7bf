"""Messages of the `AgentRun` workflow and its activities: ids, counters and verdicts, never content."""

from datetime import datetime
from typing import Literal, Self

from models.messages.frame import Message, RunRef
from taskforce.core.domain.runs.run import ANSWER_SECONDS, RunSpec

Todo = tuple[tuple[str, str], ...]


class Carried(Message):
    """What one part of a run hands to the next when it continues as new.

    Attributes:
        step: Steps done.
        tokens: Tokens used.
        worked_seconds: Seconds of work, waits for people left out.
        part: Which part this is, from 1.
        todo: The plan, as (text, status).
        words: Ids of words that the model has not heard yet.
        paused: Whether a person has paused the run.
        told: Words of which the run has been told so far.
        told_of: Ids of the latest of them; none in histories from before 2026-12.
    """

    step: int = 0
    tokens: int = 0
    worked_seconds: float = 0.0
    part: int = 1
    todo: Todo = ()
    words: tuple[str, ...] = ()
    paused: bool = False
    told: int = 0
    told_of: tuple[str, ...] = ()


class RunPlan(Message):
    """What the workflow must know of the run to steer it.

    Attributes:
        agent_id: The agent.
        user_id: On whose behalf.
        max_steps: Steps at most.
        max_tokens: Tokens at most.
        max_seconds: Seconds of work at most.
        answer_seconds: How long a question to a person waits.
        model_patience_seconds: How long a model call that fails is made again.
        model_pause_seconds: Seconds at most between two such calls.
    """

    agent_id: str
    user_id: str
    max_steps: int
    max_tokens: int
    max_seconds: int
    answer_seconds: int
    model_patience_seconds: int = 900
    model_pause_seconds: int = 60

    @classmethod
    def of(cls, brief: RunSpec) -> Self:
        """The plan of a run."""
        loop = brief.agent.loop
        return cls(
            agent_id=brief.agent.agent_id,
            user_id=brief.user_id,
            max_steps=brief.limits.max_steps,
            max_tokens=brief.limits.max_tokens,
            max_seconds=brief.limits.max_seconds,
            answer_seconds=ANSWER_SECONDS,
            model_patience_seconds=loop.model_patience_seconds,
            model_pause_seconds=loop.model_pause_seconds,
        )


class RunInput(RunRef):
    """Starts a run, or its next part.

    Attributes:
        carried: What the part before hands over.
        plan: What it needs to steer the run, whose model's turns begin and end it; a run without, from before 2026-12,
            asks for it by an activity of its own, and ends so.
    """

    carried: Carried = Carried()
    plan: RunPlan | None = None


class ModelTurn(RunRef):
    """Asks the model for one step.

    Attributes:
        step: The step, from 1.
        words: Ids of a person's words to hear first.
        closing: No tools are offered: the model shall answer with what it has.
        told: Words of which the run has been told so far; a reply that answers ends the run unless there are others.
            None leaves the end, and the beginning, to the workflow.
        tried: How often the run has made this call before.
    """

    step: int
    words: tuple[str, ...] = ()
    closing: bool = False
    told: int | None = None
    tried: int = 0


class Permit(Message):
    """What shall happen with one tool call. Calls that were refused have no permit: the model is already told.

    Attributes:
        call: The call within the step, from 1.
        tool: For summaries in the Temporal UI.
        seconds: Time for the tool.
        quick: Runs as a local activity.
        approval: A person must approve it first.
        asks: A person's words are its input.
    """

    call: int
    tool: str
    seconds: float
    quick: bool = False
    approval: bool = False
    asks: bool = False


class ModelOutcome(Message):
    """What the workflow must know of a reply.

    Attributes:
        calls: How many tool calls it asks for.
        tokens: Its price.
        permits: Those of the calls that may go on; None from before `call_model` checked them.
        ended: The reply has ended the run, whose row says so.
        stop_reason: Why the run ends with this reply although it has not completed its mission.
        unknown: How many of the turn's words have no row: nobody has said them.
    """

    calls: int = 0
    tokens: int = 0
    permits: tuple[Permit, ...] | None = None
    ended: bool = False
    stop_reason: str | None = None
    unknown: int = 0


class StepRef(RunRef):
    """Names a step."""

    step: int


class Permits(Message):
    """The calls of a step that may go on."""

    calls: tuple[Permit, ...] = ()


class ToolTurn(RunRef):
    """Runs one tool call.

    Attributes:
        step: The step.
        call: The call within it.
        words: Ids of what a person answered, for a tool that asks.
        request_id: The approval that the call waited for.
        by_row: The answer is the word whose row names the question; where words were sent and none does, the outcome
            is `unanswered`. Runs from before 2026-12 do not ask for that.
    """

    step: int
    call: int
    words: tuple[str, ...] = ()
    request_id: str | None = None
    by_row: bool = False


class ToolOutcome(Message):
    """How a tool call went; its result is a row. A written plan comes along, for the workflow keeps it.

    Attributes:
        status: How it ended.
        todo: The plan that it wrote.
        unanswered: The tool was not run, and nothing stored: no row answers its question, which is still open.
        answered_by: Id of the word whose row answers the question, for a turn that asks `by_row`.
    """

    status: str = "succeeded"
    todo: Todo | None = None
    unanswered: bool = False
    answered_by: str | None = None


class RetryNote(Message):
    """The next try of a model call that failed.

    Attributes:
        attempt: Its number, from 2.
        at: When it is made, UTC.
        code: The code of the failure before it.
        message: That failure for people; it holds no secret.
    """

    attempt: int
    at: datetime
    code: str
    message: str


class RunNote(RunRef):
    """A change between begin and end.

    Attributes:
        status: Where the run stands.
        waiting_for: What it waits for, for people.
        questions: The ids of the questions that it waits for a person to answer.
        retry: The next try of a model call that failed.
    """

    status: Literal["running", "waiting", "paused"]
    waiting_for: str | None = None
    questions: tuple[str, ...] = ()
    retry: RetryNote | None = None


class RunEnd(RunRef):
    """How the run ends."""

    status: Literal["completed", "incomplete", "failed", "cancelled"]
    stop_reason: str | None = None
    error_code: str | None = None
    error_message: str | None = None


class RunProgress(Message):
    """The answer to the `progress` query."""

    status: str
    step: int
    tokens: int
    waiting_for: str | None = None
    todo: Todo = ()
    questions: tuple[str, ...] = ()
    retry: RetryNote | None = None
