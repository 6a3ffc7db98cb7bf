"""Runs in requests and responses."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Self
from urllib.parse import quote

from pydantic import BaseModel, Field, JsonValue, model_validator

from api.schemas.budgets import LedgerOut, ledger_out
from api.schemas.request_body import RequestBody
from taskforce.core.domain.metering.budget_ledgers import Ledger
from taskforce.core.domain.runs.model_retry import ModelRetry
from taskforce.core.domain.runs.run import (
    ANSWER_EXCERPT,
    HARD_MAX_STEPS,
    Run,
    RunStatus,
    StopReason,
    Totals,
    workflow_id,
)

PREFIX = "/api/v1/runs"
MAX_MESSAGE_LENGTH = 20_000

MessageText = Annotated[str, Field(min_length=1, max_length=MAX_MESSAGE_LENGTH, pattern=r"\S")]
ModelNames = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[!-~]+( *, *[!-~]+)*$")]


class ExecuteIn(RequestBody):
    """A mission for an agent.

    Attributes:
        mission: The task, in natural language.
        agent_id: The agent, by its id or, for one of the catalog, its slug; not together with `profile`.
        version: The number of a version of it, for example `1.4.0`; without it and `alias` its current version runs.
        alias: The alias of a version of it, for example `stable`.
        profile: The profile whose agent it is; without both, the gateway's own profile counts.
        context: Facts that accompany the mission.
        session_id: The session to continue; left out, a new one begins.
        max_steps: Steps at most; not more than the agent allows.
        max_tokens: Input and output tokens at most.
        max_seconds: Seconds of active time at most.
        model: A LiteLLM name that the deployment offers; several, separated by commas, are a fallback list.
        tags: Labels for reports of usage and cost, at most 10: names of `[a-z0-9_.-]{1,64}`, values of 1 to 256 visible
            characters. `department` and `cost_center` count where neither the user's attributes nor the agent's
            metadata name one.
    """

    mission: MessageText
    agent_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None
    version: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    alias: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    profile: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    context: dict[str, JsonValue] = Field(default_factory=dict)
    session_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    max_steps: Annotated[int, Field(ge=1, le=HARD_MAX_STEPS)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=10**12)] | None = None
    max_seconds: Annotated[int, Field(ge=1, le=366 * 86_400)] | None = None
    model: ModelNames | None = None
    tags: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_agent(self) -> Self:
        if self.agent_id is not None and self.profile is not None:
            raise ValueError("name agent_id or profile, not both")
        if self.version is not None and self.alias is not None:
            raise ValueError("name version or alias, not both")
        if self.agent_id is None and (self.version is not None or self.alias is not None):
            raise ValueError("version and alias go with an agent_id")
        return self


class MessageIn(RequestBody):
    """A message for a run in progress.

    Attributes:
        text: The text of the message.
        question_id: The question that it answers; left out, the open one that has waited longest, if there is one.
    """

    text: MessageText
    question_id: Annotated[str, Field(pattern=r"^[ -~]{1,40}$")] | None = None


class RunLinks(BaseModel):
    """Links to the run's resources."""

    self: str
    steps: str
    events: str
    todo: str
    files: str
    cancel: str
    pause: str
    resume: str
    messages: str
    temporal_ui: str | None


class AcceptedOut(BaseModel):
    """A run that is stored and will be executed."""

    run_id: str
    session_id: str
    status: RunStatus
    links: RunLinks


class TokensOut(BaseModel):
    """Tokens used.

    Attributes:
        input: Tokens of prompts, cached ones included.
        output: Tokens of replies, reasoning included.
        cached: Input tokens that came from the provider's cache.
        cache_write: Input tokens that were written to the provider's cache.
        reasoning: Output tokens that the model has thought with.
        wasted: Tokens of calls that brought no usable reply; part of the total.
        estimated: Tokens of calls that the provider has not counted, at least not all of them; part of the total.
        total: Input and output tokens.
    """

    input: int
    output: int
    cached: int
    cache_write: int
    reasoning: int
    wasted: int
    estimated: int
    total: int


class LimitsOut(BaseModel):
    """The limits that end the run."""

    max_steps: int
    max_tokens: int
    max_seconds: int


class RunErrorOut(BaseModel):
    """The reason why a run failed."""

    code: str
    message: str


class PinnedOut(BaseModel):
    """The catalog version that the run is pinned to.

    Attributes:
        config_hash: SHA-256 over its definition's canonical JSON (RFC 8785).
        slug: The agent's slug at that time.
    """

    version_id: str
    version_number: str
    config_hash: str
    slug: str


class QuestionOut(BaseModel):
    """A question that waits for a person's answer; a message names it by its id."""

    question_id: str
    question: str


class RetryOut(BaseModel):
    """The next attempt of a model call that failed, or why a step waits: a kill switch, or the database.

    Attributes:
        attempt: Its number, from 2; 1 for a step that waits.
        next_at: The time of the attempt; for a step that waits, the time since which it does.
        code: The code of the failure before it.
        message: That failure, for a person.
    """

    attempt: int
    next_at: datetime
    code: str
    message: str


class AttributionOut(BaseModel):
    """To whom the run is charged.

    Attributes:
        department: By the user's attributes, the agent's metadata or the tags, in this order.
        cost_center: Likewise.
        tags: As the request named them.
    """

    department: str | None
    cost_center: str | None
    tags: dict[str, str]


class RunOut(BaseModel):
    """A run.

    Attributes:
        agent_version: The catalog version that it is pinned to; null for the agent of a profile.
        answer: The final answer; a list shows its beginning.
        answer_truncated: Whether `answer` is an excerpt.
        answer_result: The URL of the whole answer, when it is too long to be shown in a run.
        questions: The open questions to a person, the one that has waited longest first.
        retry: The next attempt of a failed model call, or why a step waits (`attempt` is 1), while the run does.
        error: Why it failed; of an incomplete run that a budget has ended, what is missing.
        budgets: What is left of the budgets that it draws on; shown of one run only.
    """

    run_id: str
    session_id: str
    status: RunStatus
    agent_id: str
    agent_version: PinnedOut | None
    profile: str
    user_id: str
    mission: str
    context: dict[str, object]
    answer: str | None
    answer_truncated: bool
    answer_result: str | None
    stop_reason: StopReason | None
    error: RunErrorOut | None
    waiting_for: str | None
    questions: list[QuestionOut]
    retry: RetryOut | None
    steps: int
    tool_calls: int
    tokens: TokensOut
    limits: LimitsOut
    models: list[str]
    attribution: AttributionOut
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    links: RunLinks
    budgets: list[LedgerOut] = []


class WordOut(BaseModel):
    """A message that was added to a run; `question_id` is the question that it answers, if any."""

    word_id: str
    question_id: str | None


class FileOut(BaseModel):
    """A file of a run's workspace."""

    path: str
    size: int
    updated_at: datetime


def run_links(tenant_id: str, run_id: str, temporal_ui: str | None) -> RunLinks:
    """Builds the links of a run.

    Args:
        tenant_id: Its tenant.
        run_id: Its id.
        temporal_ui: The base URL of the namespace's workflows in the Temporal UI, if there is one.
    """
    here = f"{PREFIX}/{run_id}"
    names = ("steps", "events", "todo", "files", "cancel", "pause", "resume", "messages")
    ui = f"{temporal_ui}/{quote(workflow_id(tenant_id, run_id), safe='')}" if temporal_ui else None
    return RunLinks(self=here, temporal_ui=ui, **{name: f"{here}/{name}" for name in names})


def tokens_out(totals: Totals) -> TokensOut:
    """Renders the token counts of a run."""
    return TokensOut(
        input=totals.input_tokens,
        output=totals.output_tokens,
        cached=totals.cached_tokens,
        cache_write=totals.cache_write_tokens,
        reasoning=totals.reasoning_tokens,
        wasted=totals.wasted_tokens,
        estimated=totals.estimated_tokens,
        total=totals.tokens,
    )


def run_out(
    run: Run,
    temporal_ui: str | None,
    *,
    listed: bool = False,
    whole_answer: int | None = None,
    budgets: Iterable[Ledger] = (),
) -> RunOut:
    """Renders a run.

    Args:
        run: The run.
        temporal_ui: The base URL of the namespace's workflows in the Temporal UI, if there is one.
        listed: Whether to show an excerpt of the answer only.
        budgets: The ledgers that it draws on.
        whole_answer: The step whose result 0 is the whole answer, where the run's row holds only a part of it.
    """
    spec, limits, pinned = run.spec, run.spec.limits, run.spec.agent.pinned
    failed = run.error_code is not None
    cut = listed and run.answer is not None and len(run.answer) > ANSWER_EXCERPT
    return RunOut.model_construct(
        run_id=spec.run_id,
        session_id=spec.session_id,
        status=run.status,
        agent_id=spec.agent.agent_id,
        agent_version=None if pinned is None else PinnedOut.model_construct(**asdict(pinned)),
        profile=spec.profile,
        user_id=spec.user_id,
        mission=spec.mission,
        context=dict(spec.context),
        answer=run.answer[:ANSWER_EXCERPT] if cut and run.answer else run.answer,
        answer_truncated=cut or whole_answer is not None,
        answer_result=None if whole_answer is None else f"{PREFIX}/{spec.run_id}/results/{whole_answer}/0",
        stop_reason=run.stop_reason,
        error=RunErrorOut(code=run.error_code or "", message=run.error_message or "") if failed else None,
        waiting_for=run.waiting_for,
        questions=[QuestionOut.model_construct(question_id=q.question_id, question=q.text) for q in run.questions],
        retry=None if run.retry is None else _retry_out(run.retry),
        steps=run.totals.steps,
        tool_calls=run.totals.tool_calls,
        tokens=tokens_out(run.totals),
        limits=LimitsOut(max_steps=limits.max_steps, max_tokens=limits.max_tokens, max_seconds=limits.max_seconds),
        models=list(spec.agent.models),
        attribution=AttributionOut.model_construct(**asdict(spec.attribution)),
        created_at=spec.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        links=run_links(spec.tenant_id, spec.run_id, temporal_ui),
        budgets=[ledger_out(one) for one in budgets],
    )


def _retry_out(retry: ModelRetry) -> RetryOut:
    return RetryOut.model_construct(attempt=retry.attempt, next_at=retry.at, code=retry.code, message=retry.message)
