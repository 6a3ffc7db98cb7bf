"""Usage tracking for programs that embed the library: records in memory, and their sums (guide 6.1, 11.4).

The service keeps its records in its database; see `taskforce/application/runs/model_replies.py`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from threading import Lock
from typing import Final

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.metering.tokens import TokenCounts
from taskforce.core.interfaces.identity import checked_tenant_id

MAX_RECORDS: Final = 100_000


class UsageType(StrEnum):
    """The quantity that a record counts."""

    INPUT_TOKENS = "input_tokens"
    """All tokens of prompts."""
    OUTPUT_TOKENS = "output_tokens"
    """All tokens of replies."""
    TOTAL_TOKENS = "total_tokens"
    """Both together."""
    CACHED_TOKENS = "cached_tokens"
    """Of the input tokens: those that came from the provider's cache."""
    CACHE_WRITE_TOKENS = "cache_write_tokens"
    """Of the input tokens: those written to the provider's cache."""
    REASONING_TOKENS = "reasoning_tokens"
    """Of the output tokens: reasoning."""
    EMBEDDING_TOKENS = "embedding_tokens"
    API_CALLS = "api_calls"
    AGENT_EXECUTIONS = "agent_executions"
    TOOL_EXECUTIONS = "tool_executions"
    RAG_QUERIES = "rag_queries"
    STORAGE_BYTE_HOURS = "storage_byte_hours"


Sums = Mapping[UsageType, int]


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """A quantity of one type that was used.

    Attributes:
        record_id: Its id.
        tenant_id: The tenant.
        usage_type: What it counts.
        quantity: How many.
        timestamp: The time, UTC.
        user_id: The user on whose behalf.
        agent_id: The agent.
        session_id: The session.
        model: LiteLLM name of the model.
        tool_name: Name of the tool.
        metadata: What the program says besides, for example a department.
    """

    record_id: str
    tenant_id: str
    usage_type: UsageType
    quantity: int
    timestamp: datetime
    user_id: str | None = None
    agent_id: str | None = None
    session_id: str | None = None
    model: str | None = None
    tool_name: str | None = None
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class UsageAggregation:
    """The sums of a tenant's records of a period.

    Attributes:
        tenant_id: The tenant.
        period_start: The beginning, included.
        period_end: The end, included.
        record_count: How many records are summed.
        totals: Sums by type.
        by_model: Sums by type, by model.
        by_agent: Sums by type, by agent.
        by_user: Sums by type, by user.
        by_session: Sums by type, by session.
        by_tool: Sums by type, by tool.
    """

    tenant_id: str
    period_start: datetime
    period_end: datetime
    record_count: int
    totals: Sums
    by_model: Mapping[str, Sums]
    by_agent: Mapping[str, Sums]
    by_user: Mapping[str, Sums]
    by_session: Mapping[str, Sums]
    by_tool: Mapping[str, Sums]


class UsageTracker:
    """Keeps records in memory; threads may share it.

    Args:
        max_records_in_memory: Records that it holds; the oldest go first.
        clock: Returns the time, UTC.

    Raises:
        Invalid: `limit_invalid`.
    """

    def __init__(
        self,
        max_records_in_memory: int = MAX_RECORDS,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if max_records_in_memory < 1:
            raise Invalid("limit_invalid", "A tracker holds 1 record or more.")
        self._records: deque[UsageRecord] = deque(maxlen=max_records_in_memory)
        self._clock = clock
        self._lock = Lock()

    def record_tokens(
        self,
        tenant_id: str,
        input_tokens: int,
        output_tokens: int,
        model: str,
        *,
        cached_tokens: int = 0,
        cache_write_tokens: int = 0,
        reasoning_tokens: int = 0,
        user_id: str | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> list[UsageRecord]:
        """Records the tokens of a call: input, output and their total, and the parts that are there.

        Args:
            tenant_id: The tenant.
            input_tokens: All tokens of the prompt, cached ones included.
            output_tokens: All tokens of the reply, reasoning included.
            model: LiteLLM name of the model.
            cached_tokens: Of the input: those from the provider's cache.
            cache_write_tokens: Of the input: those written to the provider's cache.
            reasoning_tokens: Of the output: reasoning.
            user_id: The user on whose behalf.
            agent_id: The agent.
            session_id: The session.
            metadata: What the program says besides.

        Raises:
            Invalid: `quantity_invalid`: a count below 0, or parts larger than their whole; `tenant_id_invalid`.
        """
        given = (cached_tokens, cache_write_tokens, reasoning_tokens)
        counts = TokenCounts(input_tokens, output_tokens, cached=given[0], cache_write=given[1], reasoning=given[2])
        # Counts of the core are cut to what fits, which would hide a program's mistake here.
        if (counts.input, counts.output) != (input_tokens, output_tokens) or given != (
            counts.cached,
            counts.cache_write,
            counts.reasoning,
        ):
            raise Invalid("quantity_invalid", "Tokens are 0 or more, and parts of them no more than the whole.")
        quantities = {
            UsageType.INPUT_TOKENS: counts.input,
            UsageType.OUTPUT_TOKENS: counts.output,
            UsageType.TOTAL_TOKENS: counts.total,
        }
        parts = {
            UsageType.CACHED_TOKENS: counts.cached,
            UsageType.CACHE_WRITE_TOKENS: counts.cache_write,
            UsageType.REASONING_TOKENS: counts.reasoning,
        }
        quantities.update((kind, count) for kind, count in parts.items() if count)
        known = {"user_id": user_id, "agent_id": agent_id, "session_id": session_id, "model": model}
        return self._keep(tenant_id, quantities, metadata, **known)

    def record_agent_execution(
        self,
        tenant_id: str,
        agent_id: str,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> UsageRecord:
        """Records that an agent was executed. Raises as `record`."""
        known = {"agent_id": agent_id, "user_id": user_id, "session_id": session_id}
        return self._keep(tenant_id, {UsageType.AGENT_EXECUTIONS: 1}, metadata, **known)[0]

    def record_tool_execution(
        self,
        tenant_id: str,
        tool_name: str,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> UsageRecord:
        """Records that a tool was executed. Raises as `record`."""
        known = {"tool_name": tool_name, "user_id": user_id, "agent_id": agent_id, "session_id": session_id}
        return self._keep(tenant_id, {UsageType.TOOL_EXECUTIONS: 1}, metadata, **known)[0]

    def record(
        self,
        tenant_id: str,
        usage_type: UsageType,
        quantity: int = 1,
        *,
        metadata: Mapping[str, object] | None = None,
        **known: str | None,
    ) -> UsageRecord:
        """Records a quantity of any type, for example of API calls, RAG queries or embedding tokens.

        Args:
            tenant_id: The tenant.
            usage_type: What is counted.
            quantity: How many.
            metadata: What the program says besides.
            **known: `user_id`, `agent_id`, `session_id`, `model` and `tool_name`, those that are known.

        Raises:
            Invalid: `quantity_invalid` or `tenant_id_invalid`.
        """
        return self._keep(tenant_id, {usage_type: quantity}, metadata, **known)[0]

    def get_records(
        self,
        tenant_id: str,
        usage_type: UsageType | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
    ) -> list[UsageRecord]:
        """Returns records of a tenant, oldest first.

        Args:
            tenant_id: The tenant.
            usage_type: Those of this type.
            start_date: Those from this time on.
            end_date: Those up to this time, included.
            user_id: Those of this user.
            agent_id: Those of this agent.

        Raises:
            Invalid: `period_invalid`: the period ends before it starts, or a time has no zone.
        """
        _check_period(start_date, end_date)
        with self._lock:
            records = list(self._records)
        return [
            one
            for one in records
            if one.tenant_id == tenant_id
            if usage_type in {None, one.usage_type}
            and user_id in {None, one.user_id}
            and agent_id in {None, one.agent_id}
            if (start_date is None or one.timestamp >= start_date) and (end_date is None or one.timestamp <= end_date)
        ]

    def get_aggregation(self, tenant_id: str, start_date: datetime, end_date: datetime) -> UsageAggregation:
        """Sums up a tenant's records of a period.

        Args:
            tenant_id: The tenant.
            start_date: The beginning, included, with a zone.
            end_date: The end, included, with a zone.

        Raises:
            Invalid: `period_invalid`.
        """
        # A program asks up to `now`, which it has read before its last record, or at the same tick of the clock.
        records = self.get_records(tenant_id, start_date=start_date, end_date=end_date)
        return UsageAggregation(
            tenant_id=tenant_id,
            period_start=start_date,
            period_end=end_date,
            record_count=len(records),
            totals=_sums(records),
            by_model=_by(records, lambda one: one.model),
            by_agent=_by(records, lambda one: one.agent_id),
            by_user=_by(records, lambda one: one.user_id),
            by_session=_by(records, lambda one: one.session_id),
            by_tool=_by(records, lambda one: one.tool_name),
        )

    def _keep(
        self,
        tenant_id: str,
        quantities: Mapping[UsageType, int],
        metadata: Mapping[str, object] | None,
        **known: str | None,
    ) -> list[UsageRecord]:
        if any(isinstance(quantity, bool) or quantity < 0 for quantity in quantities.values()):
            raise Invalid("quantity_invalid", "A quantity is 0 or more.")
        checked, at, said = checked_tenant_id(tenant_id), self._clock(), dict(metadata or {})
        made = [
            UsageRecord(new_id(), checked, kind, quantity, at, metadata=said, **known)
            for kind, quantity in quantities.items()
        ]
        with self._lock:
            self._records.extend(made)
        return made


def _check_period(start: datetime | None, end: datetime | None) -> None:
    zoned = all(one is None or one.tzinfo is not None for one in (start, end))
    if not zoned or (start is not None and end is not None and end < start):
        raise Invalid("period_invalid", "A period ends after it starts, and its times have a zone.")


def _by(records: Iterable[UsageRecord], dimension: Callable[[UsageRecord], str | None]) -> Mapping[str, Sums]:
    groups: dict[str, list[UsageRecord]] = {}
    for one in records:
        name = dimension(one)
        if name is not None:
            groups.setdefault(name, []).append(one)
    return {name: _sums(own) for name, own in groups.items()}


def _sums(records: Iterable[UsageRecord]) -> Sums:
    sums: dict[UsageType, int] = {}
    for one in records:
        sums[one.usage_type] = sums.get(one.usage_type, 0) + one.quantity
    return sums


def token_counts(sums: Sums) -> TokenCounts:
    """Returns the tokens of sums by type, as prices are applied to them."""
    return TokenCounts(
        sums.get(UsageType.INPUT_TOKENS, 0),
        sums.get(UsageType.OUTPUT_TOKENS, 0),
        cached=sums.get(UsageType.CACHED_TOKENS, 0),
        cache_write=sums.get(UsageType.CACHE_WRITE_TOKENS, 0),
        reasoning=sums.get(UsageType.REASONING_TOKENS, 0),
    )
