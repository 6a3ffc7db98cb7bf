"""Tables of runs: runs, transcripts, messages, effects, results, files, milestones and sessions."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from models.tables.columns import TEXTS, TIME, UUID, column, key, maybe


class RunRow(SQLModel, table=True):
    """A run: its immutable specification, status and totals."""

    __tablename__ = "runs"

    tenant_id: str = key()
    run_id: str = key(UUID)
    session_id: str = column()
    user_id: str = column()
    profile: str = column()
    agent_id: str = column()
    version_id: str | None = maybe(UUID)
    agent: dict[str, Any] = column(JSONB)
    mission: str = column()
    context: dict[str, Any] = column(JSONB)
    max_steps: int = column(sa.Integer)
    max_tokens: int = column(sa.BigInteger)
    max_seconds: int = column(sa.Integer)
    status: str = column()
    waiting_for: str | None = maybe()
    answer: str | None = maybe()
    stop_reason: str | None = maybe()
    error_code: str | None = maybe()
    error_message: str | None = maybe()
    steps: int = column(sa.Integer)
    tool_calls: int = column(sa.Integer)
    input_tokens: int = column(sa.BigInteger)
    output_tokens: int = column(sa.BigInteger)
    cached_tokens: int = column(sa.BigInteger)
    wasted_tokens: int = column(sa.BigInteger)
    event_seq: int = column(sa.BigInteger)
    created_at: datetime = column(TIME)
    started_at: datetime | None = maybe(TIME)
    finished_at: datetime | None = maybe(TIME)
    key_id: str | None = maybe(UUID)
    cancel_at: datetime | None = maybe(TIME)
    claimed_roles: list[str] | None = maybe(TEXTS)
    claimed_attributes: dict[str, Any] | None = maybe(JSONB)
    questions: list[dict[str, Any]] = column(JSONB)
    retry: dict[str, Any] | None = maybe(JSONB)
    sweep_at: datetime = column(TIME)
    attribution: dict[str, Any] | None = maybe(JSONB)
    cache_write_tokens: int = column(sa.BigInteger)
    reasoning_tokens: int = column(sa.BigInteger)
    estimated_tokens: int = column(sa.BigInteger)


class TranscriptRow(SQLModel, table=True):
    """One entry of a transcript; append-only."""

    __tablename__ = "transcript"

    tenant_id: str = key()
    run_id: str = key(UUID)
    step: int = key(sa.Integer)
    call: int = key(sa.Integer)
    kind: str = column()
    text: str = column()
    data: dict[str, Any] = column(JSONB)
    at: datetime = column(TIME)


class RunWordRow(SQLModel, table=True):
    """A person's message to an open run; only `told_at` and `sweep_at` change, as its workflow is signalled."""

    __tablename__ = "run_words"

    tenant_id: str = key()
    run_id: str = key(UUID)
    word_id: str = key(UUID)
    author_id: str = column()
    text: str = column()
    at: datetime = column(TIME)
    question_id: str | None = maybe()
    told_at: datetime | None = maybe(TIME)
    sweep_at: datetime = column(TIME)


class RunEffectRow(SQLModel, table=True):
    """The mark that an effect which must not happen twice was started; append-only."""

    __tablename__ = "run_effects"

    tenant_id: str = key()
    run_id: str = key(UUID)
    step: int = key(sa.Integer)
    call: int = key(sa.Integer)
    tool: str = column()
    at: datetime = column(TIME)


class RunResultRow(SQLModel, table=True):
    """A tool's whole result, where the transcript shows a part; append-only."""

    __tablename__ = "run_results"

    tenant_id: str = key()
    run_id: str = key(UUID)
    step: int = key(sa.Integer)
    call: int = key(sa.Integer)
    content: str = column()


class RunFileRow(SQLModel, table=True):
    """A file of a run's workspace."""

    __tablename__ = "run_files"

    tenant_id: str = key()
    run_id: str = key(UUID)
    path: str = key()
    content: bytes = column(sa.LargeBinary)
    size: int = column(sa.Integer)
    updated_at: datetime = column(TIME)


class RunEventRow(SQLModel, table=True):
    """A durable milestone; append-only, `seq` has no gaps within a run."""

    __tablename__ = "run_events"

    tenant_id: str = key()
    run_id: str = key(UUID)
    seq: int = key(sa.BigInteger)
    type: str = column()
    data: dict[str, Any] = column(JSONB)
    at: datetime = column(TIME)


class SessionRow(SQLModel, table=True):
    """A session: consecutive runs of one user."""

    __tablename__ = "sessions"

    tenant_id: str = key()
    session_id: str = key()
    user_id: str = column()
    created_at: datetime = column(TIME)
