"""Messages of the `AgentRun` workflow and its activities: ids, counters and verdicts, never content."""

from datetime import datetime
from typing import Literal, Self

from models.messages.frame import Message, RunRef
from taskforce.core.domain.runs.reply_times import ReplyTimes, longest_call
from taskforce.core.domain.runs.run import ANSWER_SECONDS, RunSpec

Todo = tuple[tuple[str, str], ...]


class Carried(Message):
    """The state of a run, carried across continue-as-new.

    Attributes:
        step: Steps done.
        tokens: Tokens used.
        worked_seconds: Seconds of work.
        part: Number of the execution, from 1.
        todo: The todo list, as (text, status).
        words: Ids of people's messages that the model has not received yet.
        paused: Whether a person has paused the run.
        told: Number of people's messages whose signal has arrived so far.
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
    """The part of a run's specification that the workflow needs.

    Attributes:
        agent_id: The agent.
        user_id: The user on whose behalf it acts.
        max_steps: Greatest number of steps.
        max_tokens: Greatest number of tokens.
        max_seconds: Greatest time of work, in seconds.
        answer_seconds: Seconds that a question waits for a person's answer.
        model_patience_seconds: Seconds during which a failed model call is retried.
        model_pause_seconds: Longest pause between two retries, in seconds.
        model_call_seconds: Seconds that one attempt of a model call may take, all of its models in turn. Gateways
            before 2026-12 do not say it; the default has room for five models.
    """

    agent_id: str
    user_id: str
    max_steps: int
    max_tokens: int
    max_seconds: int
    answer_seconds: int
    model_patience_seconds: int = 900
    model_pause_seconds: int = 60
    model_call_seconds: int = 18_000

    @classmethod
    def of(cls, spec: RunSpec) -> Self:
        """Builds the plan of a run."""
        loop, models = spec.agent.loop, spec.agent.models
        return cls(
            agent_id=spec.agent.agent_id,
            user_id=spec.user_id,
            max_steps=spec.limits.max_steps,
            max_tokens=spec.limits.max_tokens,
            max_seconds=spec.limits.max_seconds,
            answer_seconds=ANSWER_SECONDS,
            model_patience_seconds=loop.model_patience_seconds,
            model_pause_seconds=loop.model_pause_seconds,
            model_call_seconds=longest_call([spec.agent.reply_times.get(one, ReplyTimes()) for one in models]),
        )


class RunInput(RunRef):
    """The input of the `AgentRun` workflow.

    Attributes:
        carried: The state of the earlier execution.
        plan: The run's plan; its model steps then begin and end the run's row. None before 2026-12: the workflow loads
            it, and ends the row, by activities of their own.
    """

    carried: Carried = Carried()
    plan: RunPlan | None = None


class ModelTurn(RunRef):
    """The input of `call_model`: one model step.

    Attributes:
        step: The step, from 1.
        words: Ids of people's messages that precede the reply.
        closing: Whether no tools are offered, so that the model answers with what it has.
        told: Number of people's messages whose signal has arrived; an answer ends the run's row unless more are stored.
            None leaves begin and end to the workflow.
        tried: Number of earlier attempts of this call by the run.
        seconds: Seconds that the call may take once its tenant's turn has come. None before 2026-12: the activity's
            timeout bounds call and wait together.
    """

    step: int
    words: tuple[str, ...] = ()
    closing: bool = False
    told: int | None = None
    tried: int = 0
    seconds: float | None = None


class Permit(Message):
    """The terms of executing an authorized tool call. Refused calls have none: their observations are stored already.

    Attributes:
        call: The call within the step, from 1.
        tool: Name of the tool, for the Temporal UI.
        seconds: Timeout of the tool, in seconds.
        quick: Whether it runs as a local activity.
        approval: Whether it needs an approval first.
        asks: Whether a person's answer is its input.
    """

    call: int
    tool: str
    seconds: float
    quick: bool = False
    approval: bool = False
    asks: bool = False


class ModelOutcome(Message):
    """The result of `call_model`.

    Attributes:
        calls: Number of requested tool calls.
        tokens: Tokens that the step used.
        permits: The permits of authorized calls; None when `call_model` has not authorized them.
        ended: Whether the reply has ended the run, and its row is closed.
        stop_reason: Why the run ends as incomplete with this reply; None otherwise.
        unknown: Number of the turn's messages that have no row: nobody has sent them.
        worked_ms: Milliseconds that the activity has worked; None from workers before 2026-12.
    """

    calls: int = 0
    tokens: int = 0
    permits: tuple[Permit, ...] | None = None
    ended: bool = False
    stop_reason: str | None = None
    unknown: int = 0
    worked_ms: int | None = None


class UnheardMessages(Message):
    """The result of `read_unheard_messages`: ids of people's messages that are stored and in no step."""

    messages: tuple[str, ...] = ()


class StepRef(RunRef):
    """A reference to a step of a run."""

    step: int


class Permits(Message):
    """The permits of a step's authorized calls."""

    calls: tuple[Permit, ...] = ()


class ToolTurn(RunRef):
    """The input of `run_tool`.

    Attributes:
        step: The step.
        call: The call within it.
        words: Ids of a person's answers, for a tool that asks.
        request_id: The approved request; None without one.
        by_row: Whether only the message counts whose row names the question; where messages were sent and none does,
            the outcome is `unanswered`. Runs from before 2026-12 do not ask for it.
        lost: Whether an earlier attempt has run the tool, and the database was away for too long to store the outcome.
    """

    step: int
    call: int
    words: tuple[str, ...] = ()
    request_id: str | None = None
    by_row: bool = False
    lost: bool = False


class ToolOutcome(Message):
    """The result of `run_tool`: status and a written todo list; the tool's result is a row.

    Attributes:
        status: How the call ended.
        todo: The todo list that it wrote.
        unanswered: Whether the tool was not run, and nothing stored: no row answers its question, which is still open.
        answered_by: Id of the message whose row answers the question, for a turn that asks `by_row`.
        worked_ms: Milliseconds that the activity has worked, earlier attempts included as far as they could tell; None
            from workers before 2026-12.
    """

    status: str = "succeeded"
    todo: Todo | None = None
    unanswered: bool = False
    answered_by: str | None = None
    worked_ms: int | None = None


class RetryNote(Message):
    """The next retry of a failed model call, or why a step waits: a kill switch, or the database.

    Attributes:
        attempt: Number of the attempt, from 2; 1 for a step that waits.
        at: Time of the attempt, UTC; for a step that waits, the time since which it does.
        code: Error code of the last failure.
        message: Message of the last failure, without secrets.
    """

    attempt: int
    at: datetime
    code: str
    message: str


class RunNote(RunRef):
    """The input of `note_status`: a change of an open run's status.

    Attributes:
        status: The status.
        waiting_for: Display text of the wait; None without one.
        questions: Ids of the open questions.
        retry: The next retry of a failed model call.
    """

    status: Literal["running", "waiting", "paused"]
    waiting_for: str | None = None
    questions: tuple[str, ...] = ()
    retry: RetryNote | None = None


class RunEnd(RunRef):
    """The input of `finish_run`: the end of a run."""

    status: Literal["completed", "incomplete", "failed", "cancelled"]
    stop_reason: str | None = None
    error_code: str | None = None
    error_message: str | None = None


class RunEnded(Message):
    """The result of `finish_run` where the run has ended in another status than the workflow said.

    Attributes:
        status: The final status in the run's row.
    """

    status: str


class RecordedUsage(Message):
    """The result of `record_usage`: what a run has used, as its row says from then on.

    Attributes:
        steps: Steps of the run.
        tool_calls: Calls of tools.
        input_tokens: Tokens of prompts, those of failed attempts not among them.
        output_tokens: Tokens of replies, likewise.
        wasted_tokens: Tokens of failed attempts.
    """

    steps: int
    tool_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    wasted_tokens: int = 0


class RunProgress(Message):
    """The result of the query `progress`."""

    status: str
    step: int
    tokens: int
    waiting_for: str | None = None
    todo: Todo = ()
    questions: tuple[str, ...] = ()
    retry: RetryNote | None = None
