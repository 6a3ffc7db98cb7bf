"""The tracker of programs that embed the library, beyond the guide's example."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from taskforce.application.reporting import UsageTracker
from taskforce.application.reporting.usage import UsageType
from taskforce.core.domain.errors import Invalid

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


@pytest.fixture
def tracker() -> UsageTracker:
    return UsageTracker(clock=lambda: NOW)


def test_the_oldest_records_go_first(tracker: UsageTracker) -> None:
    small = UsageTracker(max_records_in_memory=2, clock=lambda: NOW)
    for number in range(3):
        small.record("acme", UsageType.API_CALLS, number)
    assert [one.quantity for one in small.get_records("acme")] == [1, 2]
    with pytest.raises(Invalid, match="1 record or more"):
        UsageTracker(max_records_in_memory=0)


def test_threads_lose_nothing(tracker: UsageTracker) -> None:
    def work(_: int) -> None:
        for _ in range(100):
            tracker.record_tokens("acme", 2, 1, "gpt-4o")
            tracker.get_aggregation("acme", NOW, NOW)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert tracker.get_aggregation("acme", NOW, NOW).totals[UsageType.TOTAL_TOKENS] == 2_400


def test_a_tenant_sees_its_own(tracker: UsageTracker) -> None:
    tracker.record_tool_execution("acme", "search", user_id="alice")
    tracker.record_agent_execution("globex", "clerk")
    assert [one.tool_name for one in tracker.get_records("acme")] == ["search"]
    other = tracker.get_aggregation("globex", NOW, NOW)
    assert (other.record_count, dict(other.by_agent)) == (1, {"clerk": {UsageType.AGENT_EXECUTIONS: 1}})


def test_a_period_holds_both_of_its_ends() -> None:
    times = iter(NOW + timedelta(days=number) for number in range(4))
    tracker = UsageTracker(clock=lambda: next(times))
    for _ in range(4):
        tracker.record("acme", UsageType.RAG_QUERIES)
    found = tracker.get_aggregation("acme", NOW + timedelta(days=1), NOW + timedelta(days=2))
    assert found.totals == {UsageType.RAG_QUERIES: 2}


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (lambda tracker: tracker.record("acme", UsageType.API_CALLS, -1), "quantity_invalid"),
        (lambda tracker: tracker.record_tokens("acme", -1, 0, "gpt-4o"), "quantity_invalid"),
        (lambda tracker: tracker.record_tokens("acme", 10, 0, "gpt-4o", cached_tokens=11), "quantity_invalid"),
        (lambda tracker: tracker.record_tokens("a/b", 1, 0, "gpt-4o"), "tenant_id_invalid"),
        (lambda tracker: tracker.get_aggregation("acme", NOW, NOW - timedelta(seconds=1)), "period_invalid"),
        (lambda tracker: tracker.get_records("acme", start_date=NOW.replace(tzinfo=None)), "period_invalid"),
    ],
)
def test_what_makes_no_sense_is_refused_and_not_recorded(
    tracker: UsageTracker, record: Callable[[UsageTracker], object], code: str
) -> None:
    with pytest.raises(Invalid) as refused:
        record(tracker)
    assert refused.value.code == code
    assert tracker.get_records("acme") == []


def test_what_the_program_says_besides_is_copied(tracker: UsageTracker) -> None:
    said = {"department": "engineering"}
    tracker.record_agent_execution("acme", "clerk", metadata=said)
    said["department"] = "marketing"
    assert tracker.get_records("acme")[0].metadata == {"department": "engineering"}
