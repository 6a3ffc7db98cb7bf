"""A token bucket never gives more than its rate, and says truly when to come again."""

from datetime import UTC, datetime, timedelta
from math import inf, nan

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from taskforce.core.domain.access.rate_limits import (
    SLACK,
    Bucket,
    Rate,
    RateDecision,
    outcome,
    rate_headers,
    refilled,
    take,
)
from taskforce.core.domain.errors import Invalid

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
A_MINUTE = Rate(limit=100, per_seconds=60, burst=100)

rates = st.builds(
    Rate,
    limit=st.integers(1, 10_000),
    per_seconds=st.sampled_from([0.1, 1, 3, 7.7, 60, 3_600]),
    burst=st.integers(1, 300),
)
pauses = st.lists(st.integers(0, 90_000_000) | st.integers(0, 2_000), min_size=1, max_size=60)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def spend(rate: Rate, times: list[datetime], bucket: Bucket | None = None) -> list[RateDecision]:
    answers: list[RateDecision] = []
    for time in times:
        answers.append(take(bucket, rate, time))
        bucket = answers[-1].bucket
    return answers


def moments(pauses: list[int]) -> list[datetime]:
    times = [NOW]
    for pause in pauses:
        times.append(times[-1] + timedelta(microseconds=pause))
    return times


def test_after_a_rest_the_burst_is_there_at_once_and_no_more() -> None:
    answers = spend(Rate(10, 60, 3), [NOW] * 5)

    assert [one.allowed for one in answers] == [True, True, True, False, False]
    assert [one.remaining for one in answers] == [2, 1, 0, 0, 0]
    assert answers[-1].retry_after_seconds == pytest.approx(6)
    assert answers[0].retry_after_seconds == 0
    assert answers[0].reset_after_seconds == pytest.approx(6)


def test_tokens_come_in_steadily_up_to_the_burst() -> None:
    rate = Rate(10, 60, 3)
    empty = spend(rate, [NOW] * 3)[-1].bucket

    assert refilled(empty, rate, after(6)).tokens == pytest.approx(1)
    assert refilled(empty, rate, after(9)).tokens == pytest.approx(1.5)
    assert refilled(empty, rate, after(6_000)).tokens == 3


def test_a_refusal_takes_nothing() -> None:
    refused = take(Bucket(0.5, NOW), A_MINUTE, NOW)

    assert not refused.allowed
    assert refused.bucket == Bucket(0.5, NOW)


def test_a_dear_request_takes_several_tokens() -> None:
    rate = Rate(10, 10, 10)

    assert take(None, rate, NOW, cost=7).remaining == 3
    refused = take(Bucket(3, NOW), rate, NOW, cost=7)
    assert not refused.allowed
    assert refused.retry_after_seconds == pytest.approx(4)


def test_ten_tenths_are_one() -> None:
    rate = Rate(1, 1, 1)
    bucket = take(None, rate, NOW).bucket
    for tenth in range(1, 11):
        bucket = refilled(bucket, rate, after(tenth / 10))

    assert bucket.tokens != 1
    assert take(bucket, rate, after(1)).allowed


def test_a_clock_that_is_behind_brings_nothing_in_and_takes_nothing_back() -> None:
    rate = Rate(1, 1, 2)
    bucket = take(None, rate, after(10)).bucket

    behind = take(bucket, rate, NOW)
    assert behind.allowed
    assert behind.bucket == Bucket(0, after(10))
    refused = take(behind.bucket, rate, NOW)
    assert not refused.allowed
    assert refused.retry_after_seconds == pytest.approx(11)
    assert not take(refused.bucket, rate, after(10)).allowed


def test_a_limit_that_is_lowered_holds_at_once() -> None:
    assert take(Bucket(100, NOW), Rate(5, 60, 5), NOW).remaining == 4


@given(rate=rates, pauses=pauses)
def test_in_no_window_more_passes_than_the_burst_and_what_comes_in(rate: Rate, pauses: list[int]) -> None:
    times = moments([0] * min(rate.burst, 40) + pauses)
    passed = [time for time, one in zip(times, spend(rate, times), strict=True) if one.allowed]

    for first, begin in enumerate(passed):
        for last in range(first, len(passed)):
            window = (passed[last] - begin).total_seconds()
            assert last - first + 1 <= rate.burst + window * rate.limit / rate.per_seconds + 2 * SLACK


@given(rate=rates, seconds=st.lists(st.floats(-100, 100), min_size=1, max_size=60))
def test_clocks_that_differ_win_nothing(rate: Rate, seconds: list[float]) -> None:
    times = [after(one) for one in seconds]
    passed = sum(one.allowed for one in spend(rate, times))

    elapsed = (max(times) - times[0]).total_seconds()
    assert passed <= rate.burst + elapsed * rate.limit / rate.per_seconds + 2 * SLACK


@given(rate=rates, pauses=pauses, data=st.data(), behind=st.integers(0, 5_000_000))
def test_whoever_waits_as_told_passes(rate: Rate, pauses: list[int], data: st.DataObject, behind: int) -> None:
    times = moments(pauses)
    bucket = spend(rate, times)[-1].bucket
    cost = data.draw(st.integers(1, rate.burst))
    now = times[-1] - timedelta(microseconds=behind)
    refused = take(bucket, rate, now, cost)
    assume(not refused.allowed)

    assert refused.retry_after_seconds > 0
    assert take(refused.bucket, rate, now + timedelta(seconds=refused.retry_after_seconds), cost).allowed


@given(rate=rates, pauses=pauses)
def test_after_the_reset_the_bucket_is_full(rate: Rate, pauses: list[int]) -> None:
    times = moments(pauses)
    last = spend(rate, times)[-1]

    full = refilled(last.bucket, rate, times[-1] + timedelta(seconds=last.reset_after_seconds))
    assert full.tokens == pytest.approx(rate.burst)


@given(rate=rates, pauses=pauses)
def test_what_remains_can_be_taken_at_once(rate: Rate, pauses: list[int]) -> None:
    times = moments(pauses)
    last = spend(rate, times)[-1]
    further = spend(rate, [times[-1]] * (last.remaining + 1), last.bucket)

    assert [one.allowed for one in further] == [True] * last.remaining + [False]


@given(rate=rates, pauses=pauses)
def test_a_decision_made_elsewhere_is_told_in_the_same_words(rate: Rate, pauses: list[int]) -> None:
    times = moments(pauses)
    for time, one in zip(times, spend(rate, times), strict=True):
        assert outcome(one.bucket, rate, time, allowed=one.allowed) == one


@pytest.mark.parametrize(
    ("limit", "per_seconds", "burst"),
    [(0, 60, 1), (-1, 60, 1), (1, 0, 1), (1, -1, 1), (1, inf, 1), (1, nan, 1), (1, 60, 0), (1, 60, 10**7), (1, 1e9, 1)],
)
def test_a_rate_that_gives_nothing_or_never_fills_is_refused(limit: int, per_seconds: float, burst: int) -> None:
    with pytest.raises(Invalid) as refusal:
        Rate(limit, per_seconds, burst)
    assert refusal.value.code == "rate_invalid"


@pytest.mark.parametrize("cost", [0, -1, 101])
def test_a_request_that_could_never_pass_is_refused(cost: int) -> None:
    with pytest.raises(Invalid) as refusal:
        take(None, A_MINUTE, NOW, cost)
    assert refusal.value.code == "cost_invalid"


# Headers


def test_the_headers_tell_the_policy_and_what_is_left() -> None:
    assert rate_headers(take(None, A_MINUTE, NOW), A_MINUTE) == {
        "RateLimit-Policy": '"default";q=100;w=60',
        "RateLimit": '"default";r=99;t=1',
    }


def test_a_refusal_says_when_to_come_again_and_says_it_once() -> None:
    rate = Rate(10, 60, 2)

    assert rate_headers(take(Bucket(0.9, NOW), rate, NOW), rate, "key") == {
        "RateLimit-Policy": '"key";q=10;w=60',
        "RateLimit": '"key";r=0;t=1',
        "Retry-After": "1",
    }
    assert rate_headers(take(Bucket(0, NOW), rate, NOW), rate)["Retry-After"] == "6"


def test_no_more_remains_than_the_quota_and_a_window_is_whole_seconds() -> None:
    rate = Rate(5, 0.5, 50)

    assert rate_headers(take(None, rate, NOW), rate) == {
        "RateLimit-Policy": '"default";q=5',
        "RateLimit": '"default";r=5;t=1',
    }


@given(rate=rates, pauses=pauses)
def test_who_waits_the_whole_seconds_of_the_header_passes(rate: Rate, pauses: list[int]) -> None:
    times = moments([0] * min(rate.burst, 100) + pauses)
    for time, one in zip(times, spend(rate, times), strict=True):
        headers = rate_headers(one, rate)
        assert ("Retry-After" in headers) is not one.allowed
        if not one.allowed:
            assert take(one.bucket, rate, time + timedelta(seconds=int(headers["Retry-After"]))).allowed
