"""Usage records as they are listed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from taskforce.core.domain.metering.tokens import TokenCounts


class RecordPlace(NamedTuple):
    """The place of a usage record in a list, newest first: its time and its key."""

    at: datetime
    run_id: str
    step: int
    call: int
    attempt: int
    part: int


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """A usage record.

    Attributes:
        place: Its time and its key.
        kind: What it is of: `model`, `tool`, `run`, `embedding` or `rag_query`.
        user_id: The user on whose behalf the run acts.
        agent_id: The agent.
        agent_version: Number of the agent's catalog version; None for the agent of a profile.
        session_id: The session.
        model, provider, tool: What was called.
        department, cost_center: To whom it is charged.
        tags: The tags of the request.
        tokens: The tokens.
        estimated: How they were counted where the provider did not.
        error_code: Why there was no usable outcome.
        duration_ms: Milliseconds.
        cost: The exact cost; None without a price.
        currency: The currency of the cost.
        price_source: Where the price is from.
    """

    place: RecordPlace
    kind: str
    user_id: str
    agent_id: str
    agent_version: str | None
    session_id: str | None
    model: str | None
    provider: str | None
    tool: str | None
    department: str | None
    cost_center: str | None
    tokens: TokenCounts
    estimated: str | None
    error_code: str | None
    duration_ms: int
    cost: Decimal | None
    currency: str | None
    price_source: str | None
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class RecordPage:
    """A page of usage records.

    Attributes:
        records: The records; there may be fewer than asked for, and even none, before the end.
        following: The place after which the next page begins; None at the end.
    """

    records: Sequence[UsageRecord]
    following: RecordPlace | None
