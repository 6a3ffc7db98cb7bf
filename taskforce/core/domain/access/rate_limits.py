"""How often something may happen: a token bucket as arithmetic, and the headers that tell callers about it.

The same arithmetic stands in one SQL statement, so that a limit holds across processes. Both compute in double
precision and in this order: `least(burst, tokens + greatest(0, now - at) * limit / per_seconds)` is what there is;
a request passes when `cost - SLACK` or more is there; what is left may be less than zero by `SLACK`, which the next
request pays for, so that rounding never adds up to a gift.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import ceil, floor, isfinite
from typing import Self

from taskforce.core.domain.errors import Invalid

SLACK = 1e-6
"""How many tokens a request may be short of, because 0.1 added ten times is not 1."""
MOST_LIMIT = 1_000_000_000
MOST_BURST = 1_000_000
LONGEST_REFILL_SECONDS = 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit.

    Attributes:
        limit: How many tokens come in each period.
        per_seconds: The length of a period, in seconds.
        burst: How many can be taken at once after a rest: what the bucket holds.

    Raises:
        Invalid: `rate_invalid`, when a number is not positive or out of bounds, or filling the bucket would take more
            than a year.
    """

    limit: int
    per_seconds: float
    burst: int

    def __post_init__(self) -> None:
        counted = 1 <= self.limit <= MOST_LIMIT and 1 <= self.burst <= MOST_BURST
        timed = isfinite(self.per_seconds) and self.per_seconds > 0
        if not (counted and timed and self.seconds_for(self.burst) <= LONGEST_REFILL_SECONDS):
            text = f"A rate has a limit of 1 to {MOST_LIMIT}, a positive period and a burst of 1 to {MOST_BURST}."
            raise Invalid("rate_invalid", text)

    @classmethod
    def per_minute(cls, limit: int) -> Self:
        """So many requests a minute, all of which may come at once after a rest.

        Raises:
            Invalid: `rate_invalid`.
        """
        return cls(limit, 60.0, limit)

    def seconds_for(self, tokens: float) -> float:
        """Returns how many seconds it takes for tokens to come in."""
        return tokens * self.per_seconds / self.limit


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is left.

    Attributes:
        tokens: How many, at the time `at`.
        at: The latest time that was seen, UTC. It never goes back: what has come in once would come in again.
    """

    tokens: float
    at: datetime


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer to one request.

    Attributes:
        allowed: Whether it may happen.
        bucket: What is left now.
        remaining: How many whole tokens could be taken at once, now.
        retry_after_seconds: After which the same request passes if nobody else comes; 0 when it was allowed.
        reset_after_seconds: After which the bucket is full again if nobody comes.
    """

    allowed: bool
    bucket: Bucket
    remaining: int
    retry_after_seconds: float
    reset_after_seconds: float


def take(bucket: Bucket | None, rate: Rate, now: datetime, cost: int = 1) -> Taken:
    """Takes tokens if they are there; takes none otherwise.

    Args:
        bucket: As it was left; None before the first request, which finds it full.
        rate: The limit.
        now: The time, UTC. When clocks differ and it is earlier than the bucket's, nothing comes in.
        cost: How many tokens the request takes.

    Raises:
        Invalid: `cost_invalid`, when it is not positive, or more than the bucket ever holds.
    """
    if not 1 <= cost <= rate.burst:
        raise Invalid("cost_invalid", f"A request costs 1 to {rate.burst} tokens: more are never there at once.")
    there = refilled(bucket, rate, now)
    allowed = there.tokens >= cost - SLACK
    left = Bucket(there.tokens - cost, there.at) if allowed else there
    return outcome(left, rate, now, allowed=allowed, cost=cost)


def refilled(bucket: Bucket | None, rate: Rate, now: datetime) -> Bucket:
    """Returns the bucket with what has come in since it was left."""
    if bucket is None:
        return Bucket(float(rate.burst), now)
    elapsed = max(0.0, (now - bucket.at).total_seconds())
    tokens = min(float(rate.burst), bucket.tokens + elapsed * rate.limit / rate.per_seconds)
    return Bucket(tokens, max(bucket.at, now))


def outcome(left: Bucket, rate: Rate, now: datetime, *, allowed: bool, cost: int = 1) -> Taken:
    """Says what a decision means for the caller; for `take`, and for the same decision made in SQL.

    Args:
        left: The bucket after the decision.
        rate: The limit.
        now: The time of the request, UTC.
        allowed: The decision.
        cost: How many tokens the request took, or would have taken.
    """
    behind = max(0.0, (left.at - now).total_seconds())
    missing = 0.0 if allowed else max(0.0, cost - left.tokens)
    return Taken(
        allowed,
        left,
        remaining=max(0, floor(left.tokens + SLACK)),
        retry_after_seconds=0.0 if allowed else _up(behind + rate.seconds_for(missing)),
        reset_after_seconds=_up(behind + rate.seconds_for(max(0.0, rate.burst - left.tokens))),
    )


def _up(seconds: float) -> float:
    """Rounds up to microseconds: a time cannot say less, and waiting too short a while would be refused again."""
    return ceil(seconds * 1_000_000) / 1_000_000


def rate_headers(taken: Taken, rate: Rate, name: str = "default") -> Mapping[str, str]:
    """Writes an answer as HTTP fields, after draft-ietf-httpapi-ratelimit-headers and RFC 9110 (section 10.2.3).

    Args:
        taken: The answer.
        rate: The limit.
        name: The policy's name: letters, digits, underscores and hyphens.

    Returns:
        `RateLimit-Policy` and `RateLimit`, and `Retry-After` in whole seconds, rounded up, when it was refused. The
        window is left out when it is no whole number of seconds: the field cannot say it. As the draft wants it, no
        more than the quota remains, and a refusal names one time in both fields.
    """
    window = f";w={rate.per_seconds:.0f}" if float(rate.per_seconds).is_integer() else ""
    until = ceil(taken.reset_after_seconds if taken.allowed else max(1.0, taken.retry_after_seconds))
    headers = {
        "RateLimit-Policy": f'"{name}";q={rate.limit}{window}',
        "RateLimit": f'"{name}";r={min(taken.remaining, rate.limit)};t={until}',
    }
    return headers if taken.allowed else {**headers, "Retry-After": str(until)}
