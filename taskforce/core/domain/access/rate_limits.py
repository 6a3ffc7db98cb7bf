"""Rate limits: the arithmetic of a token bucket, and its HTTP headers.

One SQL statement has the same arithmetic, so that a limit holds across processes. Both compute in double precision and
in this order: `least(burst, tokens + greatest(0, now - at) * limit / per_seconds)` tokens are available; a request
passes when there are `cost - SLACK` or more; the rest may be below zero by `SLACK`, which the next request pays for, so
that rounding never adds up to extra tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import ceil, floor, isfinite
from typing import Self

from taskforce.core.domain.errors import Invalid

SLACK = 1e-6
"""Tokens that a request may lack, because 0.1 added ten times is not 1 in floating point."""
MOST_LIMIT = 1_000_000_000
MOST_BURST = 1_000_000
LONGEST_REFILL_SECONDS = 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate limit.

    Attributes:
        limit: Tokens that are added in each period.
        per_seconds: Length of a period, in seconds.
        burst: Capacity of the bucket: tokens that can be taken at once after a rest.

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
        """Makes a limit of requests per minute, with a burst of the same size.

        Raises:
            Invalid: `rate_invalid`.
        """
        return cls(limit, 60.0, limit)

    def seconds_for(self, tokens: float) -> float:
        """Returns the seconds in which a number of tokens is added."""
        return tokens * self.per_seconds / self.limit


@dataclass(frozen=True, slots=True)
class Bucket:
    """The state of a token bucket.

    Attributes:
        tokens: Tokens at the time `at`.
        at: Latest time seen, UTC. It never goes back, or tokens would be added twice for the same time.
    """

    tokens: float
    at: datetime


@dataclass(frozen=True, slots=True)
class RateDecision:
    """The result of taking tokens.

    Attributes:
        allowed: Whether the request may pass.
        bucket: The bucket after it.
        remaining: Whole tokens that can be taken now.
        retry_after_seconds: Seconds after which the same request passes if none comes before; 0 when it was allowed.
        reset_after_seconds: Seconds after which the bucket is full if no request comes.
    """

    allowed: bool
    bucket: Bucket
    remaining: int
    retry_after_seconds: float
    reset_after_seconds: float


def take(bucket: Bucket | None, rate: Rate, now: datetime, cost: int = 1) -> RateDecision:
    """Takes tokens if enough are available, else none.

    Args:
        bucket: The bucket before; None before the first request, which finds it full.
        rate: The limit.
        now: The time, UTC. When it is earlier than the bucket's, because clocks differ, no tokens are added.
        cost: Tokens of the request.

    Raises:
        Invalid: `cost_invalid`, when it is not positive or above the burst.
    """
    if not 1 <= cost <= rate.burst:
        raise Invalid("cost_invalid", f"A request costs 1 to {rate.burst} tokens: more are never there at once.")
    there = refilled(bucket, rate, now)
    allowed = there.tokens >= cost - SLACK
    left = Bucket(there.tokens - cost, there.at) if allowed else there
    return outcome(left, rate, now, allowed=allowed, cost=cost)


def refilled(bucket: Bucket | None, rate: Rate, now: datetime) -> Bucket:
    """Returns the bucket with the tokens added since its last use."""
    if bucket is None:
        return Bucket(float(rate.burst), now)
    # Clocks of gateways differ; an earlier time must not remove tokens.
    elapsed = max(0.0, (now - bucket.at).total_seconds())
    tokens = min(float(rate.burst), bucket.tokens + elapsed * rate.limit / rate.per_seconds)
    return Bucket(tokens, max(bucket.at, now))


def outcome(left: Bucket, rate: Rate, now: datetime, *, allowed: bool, cost: int = 1) -> RateDecision:
    """Computes the result of a decision, of `take` or of the same arithmetic in SQL.

    Args:
        left: The bucket after the decision.
        rate: The limit.
        now: The time of the request, UTC.
        allowed: The decision.
        cost: Tokens of the request.
    """
    behind = max(0.0, (left.at - now).total_seconds())
    missing = 0.0 if allowed else max(0.0, cost - left.tokens)
    return RateDecision(
        allowed,
        left,
        remaining=max(0, floor(left.tokens + SLACK)),
        retry_after_seconds=0.0 if allowed else _up(behind + rate.seconds_for(missing)),
        reset_after_seconds=_up(behind + rate.seconds_for(max(0.0, rate.burst - left.tokens))),
    )


def _up(seconds: float) -> float:
    """Rounds up to microseconds, the precision of a time: a wait cut short would end in another refusal."""
    return ceil(seconds * 1_000_000) / 1_000_000


def rate_headers(counted: RateDecision, rate: Rate, name: str = "default") -> Mapping[str, str]:
    """Formats a result as HTTP headers, after draft-ietf-httpapi-ratelimit-headers and RFC 9110 (section 10.2.3).

    Args:
        counted: The result.
        rate: The limit.
        name: The policy's name: letters, digits, underscores and hyphens.

    Returns:
        `RateLimit-Policy` and `RateLimit`, and `Retry-After` in whole seconds, rounded up, when it was refused. The
        window is left out when it is no whole number of seconds, which the field cannot express. As the draft requires,
        no more than the quota remains, and a refusal names one time in both fields.
    """
    window = f";w={rate.per_seconds:.0f}" if float(rate.per_seconds).is_integer() else ""
    until = ceil(counted.reset_after_seconds if counted.allowed else max(1.0, counted.retry_after_seconds))
    headers = {
        "RateLimit-Policy": f'"{name}";q={rate.limit}{window}',
        "RateLimit": f'"{name}";r={min(counted.remaining, rate.limit)};t={until}',
    }
    return headers if counted.allowed else {**headers, "Retry-After": str(until)}
