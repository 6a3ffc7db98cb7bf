"""Runs as they travel over HTTP."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from taskforce.core.domain.runs.run import HARD_MAX_STEPS, Run, RunStatus, StopReason, Totals, workflow_id

PREFIX = "/api/v1/runs"
MAX_WORDS = 20_000

Words = Annotated[str, Field(min_length=1, max_length=MAX_WORDS, pattern=r"\S")]
ModelNames = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[!-~]+( *, *[!-~]+)*$")]


class _Asked(BaseModel):
    """Bodies of requests: unknown fields are refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ExecuteIn(_Asked):
    """A mission for an agent.

    Attributes:
        mission: What shall be done.
        agent_id: Which agent, by its id or, of the catalog's, its slug; not together with `profile`.
        version: The number of a version of it, for example `1.4.0`; without it and `alias` its current version runs.
        alias: The name of a version of it, for example `stable`.
        profile: The profile whose agent it is; without both, the gateway's own profile counts.
        context: Facts that go along.
        session_id: The session to go on with; left out, a new one begins.
        max_steps: Steps at most; not more than the agent allows.
        max_tokens: Input and output tokens at most.
        max_seconds: Seconds of work at most.
        model: A LiteLLM name that the deployment offers; several, separated by commas, are a fallback list.
    """

    mission: Words
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

    @model_validator(mode="after")
    def _one_agent(self) -> Self:
        if self.agent_id is not None and self.profile is not None:
            raise ValueError("name agent_id or profile, not both")
        if self.version is not None and self.alias is not None:
            raise ValueError("name version or alias, not both")
        if self.agent_id is None and (self.version is not None or self.alias is not None):
            raise ValueError("version and alias go with an agent_id")
        return self


class MessageIn(_Asked):
    """A word for a run that is under way."""

    text: Words


class RunLinks(BaseModel):
    """Where to go on from a run."""

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
    """A run that is committed and will be done."""

    run_id: str
    session_id: str
    status: RunStatus
    links: RunLinks


class TokensOut(BaseModel):
    """Tokens used.

    Attributes:
        input: Of prompts, cached ones included.
        output: Of replies.
        cached: Those input tokens that came from the provider's cache.
        wasted: Those of calls that brought no usable reply; part of the total.
        total: Input and output.
    """

    input: int
    output: int
    cached: int
    wasted: int
    total: int


class LimitsOut(BaseModel):
    """What stops the run."""

    max_steps: int
    max_tokens: int
    max_seconds: int


class RunErrorOut(BaseModel):
    """Why a run failed."""

    code: str
    message: str


class PinnedOut(BaseModel):
    """The version of the catalog's that the run began with.

    Attributes:
        config_hash: SHA-256 over its definition's canonical JSON (RFC 8785).
        slug: The agent's name in addresses at that time.
    """

    version_id: str
    version_number: str
    config_hash: str
    slug: str


class RunOut(BaseModel):
    """A run.

    Attributes:
        agent_version: The version of the catalog's that it is pinned to; null for the agent of a profile.
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
    stop_reason: StopReason | None
    error: RunErrorOut | None
    waiting_for: str | None
    steps: int
    tool_calls: int
    tokens: TokensOut
    limits: LimitsOut
    models: list[str]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    links: RunLinks


class WordOut(BaseModel):
    """A word that was added."""

    word_id: str


class FileOut(BaseModel):
    """A file of a run's workspace."""

    path: str
    size: int
    updated_at: datetime


def run_links(tenant_id: str, run_id: str, temporal_ui: str | None) -> RunLinks:
    """The links of a run.

    Args:
        tenant_id: Its tenant.
        run_id: Its id.
        temporal_ui: Where the namespace's workflows are seen, if anywhere.
    """
    here = f"{PREFIX}/{run_id}"
    names = ("steps", "events", "todo", "files", "cancel", "pause", "resume", "messages")
    ui = f"{temporal_ui}/{quote(workflow_id(tenant_id, run_id), safe='')}" if temporal_ui else None
    return RunLinks(self=here, temporal_ui=ui, **{name: f"{here}/{name}" for name in names})


def tokens_out(totals: Totals) -> TokensOut:
    """The tokens of a run."""
    return TokensOut(
        input=totals.input_tokens,
        output=totals.output_tokens,
        cached=totals.cached_tokens,
        wasted=totals.wasted_tokens,
        total=totals.input_tokens + totals.output_tokens,
    )


def run_out(run: Run, temporal_ui: str | None) -> RunOut:
    """A run as callers see it."""
    brief, limits, pinned = run.brief, run.brief.limits, run.brief.agent.pinned
    failed = run.error_code is not None
    return RunOut.model_construct(
        run_id=brief.run_id,
        session_id=brief.session_id,
        status=run.status,
        agent_id=brief.agent.agent_id,
        agent_version=None if pinned is None else PinnedOut.model_construct(**asdict(pinned)),
        profile=brief.profile,
        user_id=brief.user_id,
        mission=brief.mission,
        context=dict(brief.context),
        answer=run.answer,
        stop_reason=run.stop_reason,
        error=RunErrorOut(code=run.error_code or "", message=run.error_message or "") if failed else None,
        waiting_for=run.waiting_for,
        steps=run.totals.steps,
        tool_calls=run.totals.tool_calls,
        tokens=tokens_out(run.totals),
        limits=LimitsOut(max_steps=limits.max_steps, max_tokens=limits.max_tokens, max_seconds=limits.max_seconds),
        models=list(brief.agent.models),
        created_at=brief.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        links=run_links(brief.tenant_id, brief.run_id, temporal_ui),
    )
