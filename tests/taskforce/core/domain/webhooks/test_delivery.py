"""When a delivery is tried again, and when it is given up."""

from datetime import UTC, datetime, timedelta

import pytest

from taskforce.core.domain.webhooks.delivery import WAITS, Answered, Delivery, DeliveryState, DeliveryStatus
from taskforce.core.domain.webhooks.endpoint import TEST_EVENT
from taskforce.core.domain.webhooks.signatures import WebhookMessage

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


def delivery(event: str = "request_approved") -> Delivery:
    return Delivery("d", "w", WebhookMessage("e", event, {}, NOW), NOW)


def answered(status: int | None, **headers: str) -> Answered:
    return Answered(status, {name.replace("_", "-"): said for name, said in headers.items()})


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_success_ends_it(status: int) -> None:
    assert delivery().after(1, answered(status), NOW) == DeliveryState(DeliveryStatus.DELIVERED)
    assert answered(status).error is None


@pytest.mark.parametrize("status", [None, 100, 199, 300, 301, 302, 307, 308, 400, 401, 404, 429, 500, 503, 599])
def test_anything_else_is_tried_again_five_seconds_later(status: int | None) -> None:
    assert delivery().after(1, answered(status), NOW) == DeliveryState(
        DeliveryStatus.PENDING, NOW + timedelta(seconds=5)
    )
    assert answered(status).error


def test_the_tenth_attempt_is_the_last_and_comes_after_three_days() -> None:
    for number, wait in enumerate(WAITS, start=1):
        assert delivery().after(number, answered(500), NOW) == DeliveryState(DeliveryStatus.PENDING, NOW + wait)
    assert delivery().after(10, answered(500), NOW) == DeliveryState(DeliveryStatus.FAILED)
    assert sum(WAITS, timedelta()) == timedelta(days=3, hours=3, minutes=35, seconds=5)
    assert sorted(WAITS) == list(WAITS)


def test_a_receiver_that_is_gone_is_not_asked_again() -> None:
    assert delivery().after(1, answered(410), NOW) == DeliveryState(DeliveryStatus.FAILED)


def test_a_test_is_tried_once() -> None:
    assert delivery(TEST_EVENT).after(1, answered(500), NOW) == DeliveryState(DeliveryStatus.FAILED)


@pytest.mark.parametrize(
    ("said", "wait"),
    [
        ("120", timedelta(seconds=120)),
        ("1", timedelta(seconds=5)),
        ("-7", timedelta(seconds=5)),
        ("nonsense", timedelta(seconds=5)),
        ("inf", timedelta(seconds=5)),
        ("99999999", timedelta(days=1)),
        ("Thu, 15 Jan 2026 13:00:00 GMT", timedelta(hours=1)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", timedelta(days=1)),
    ],
)
def test_a_receiver_may_ask_for_more_time_but_for_no_more_than_a_day(said: str, wait: timedelta) -> None:
    for status in (429, 503):
        state = delivery().after(1, answered(status, retry_after=said), NOW)
        assert state.next_attempt_at == NOW + wait
        assert state.wait(NOW) == wait


def test_a_wait_that_is_over_is_none_at_all() -> None:
    assert DeliveryState(DeliveryStatus.PENDING, NOW).wait(NOW + timedelta(days=1)) == timedelta()
    assert DeliveryState(DeliveryStatus.DELIVERED).wait(NOW) is None


def test_why_there_was_no_answer_is_kept_short() -> None:
    assert Answered(None, {}, reason="x" * 10_000).error == "x" * 500
    assert answered(302).error == "The receiver answered 302; redirects are not followed."
