"""Rate limits of tenants and API keys, counted in the database for all gateways together."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from taskforce.core.domain.access.rate_limits import Rate, RateDecision, rate_headers
from taskforce.core.domain.errors import Limited
from taskforce.core.domain.identity.principals import Principal
from taskforce.core.interfaces.store import Records


@dataclass(frozen=True, slots=True)
class RateRules:
    """The deployment's rate limits; None is no limit.

    Attributes:
        default: The limit of each API key and of each tenant.
        by_tenant: Whether the default applies to tenants too; a tenant's own setting always applies.
    """

    default: Rate | None = None
    by_tenant: bool = True

    def of_tenant(self, principal: Principal) -> Rate | None:
        """Returns the rate limit of the principal's tenant."""
        own = principal.tenant.settings.requests_per_minute
        if own is not None:
            return Rate.per_minute(own)
        return self.default if self.by_tenant else None


async def count_request(records: Records, rules: RateRules, principal: Principal, now: datetime) -> Mapping[str, str]:
    """Counts a request against the limits of its API key and its tenant.

    Args:
        records: The tenant's records. A bucket is locked until their transaction ends: call this last.
        rules: The deployment's rate limits.
        principal: The caller.
        now: The time, UTC.

    Returns:
        The rate limit headers of the limit with the fewest requests left; empty without limits.

    Raises:
        RateLimited: `rate_limited`, with the seconds to wait and the headers.
    """
    # The key first: the refused requests of one key must not use up its tenant's limit.
    with_key = rules.default if principal.is_cut else None
    wanted = {f"key:{principal.key_id}": with_key, "tenant": rules.of_tenant(principal)}
    found: list[tuple[str, Rate, RateDecision]] = []
    for bucket, rate in wanted.items():
        if rate is not None:
            found.append((bucket, rate, await records.rates.take(bucket, rate, now)))
            # A refused request must not take from the buckets that follow.
            if not found[-1][2].allowed:
                break
    return _answer(*min(found, key=lambda one: (one[2].allowed, one[2].remaining))) if found else {}


def _answer(bucket: str, rate: Rate, counted: RateDecision) -> Mapping[str, str]:
    name = bucket.partition(":")[0]
    headers = rate_headers(counted, rate, name)
    if not counted.allowed:
        whose = "Your tenant" if name == "tenant" else "This API key"
        text = f"{whose} may make {rate.limit} requests in {rate.per_seconds:g} seconds. Wait, then go on."
        raise RateLimited(text, retry_after=counted.retry_after_seconds, headers=headers)
    return headers


class RateLimited(Limited):
    """The error for a request beyond a rate limit.

    Attributes:
        headers: The rate limit headers of the response.
    """

    def __init__(self, message: str, *, retry_after: float, headers: Mapping[str, str]) -> None:
        super().__init__("rate_limited", message, retry_after=retry_after)
        self.headers = headers
