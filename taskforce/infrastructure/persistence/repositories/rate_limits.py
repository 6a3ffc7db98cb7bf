"""Repository of token buckets in PostgreSQL: one statement decides, so a limit holds across all gateways."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables.access import RateBucketRow
from taskforce.core.domain.access.rate_limits import SLACK, Bucket, Rate, RateDecision, outcome
from taskforce.infrastructure.persistence.connection import Query
from taskforce.infrastructure.persistence.repository import Repository, table

_BUCKETS = table(RateBucketRow)
_DOUBLE: sa.Double[float] = sa.Double()


def _take() -> sa.ClauseElement:
    # The arithmetic, and its order, are those of taskforce.core.domain.access.rate_limits; a test compares the two.
    now, limit = _BUCKETS.c.at.type, sa.bindparam("limit", type_=_DOUBLE)
    here = sa.bindparam("now", type_=now)
    burst, per = sa.bindparam("burst", type_=_DOUBLE), sa.bindparam("per", type_=_DOUBLE)
    elapsed = sa.func.greatest(0.0, sa.cast(sa.extract("epoch", here - _BUCKETS.c.at), _DOUBLE))
    there = sa.func.least(burst, _BUCKETS.c.tokens + elapsed * limit / per)
    granted = there >= 1 - SLACK
    full = {"tokens": burst - 1, "at": here, "granted": sa.true()}
    keyed = {name: sa.bindparam(f"of_{name}", type_=_BUCKETS.c[name].type) for name in ("tenant_id", "bucket")}
    left = sa.case((granted, there - 1), else_=there)
    # Clocks of gateways differ: a bucket's time never goes back, or tokens would be granted twice.
    changed = {"tokens": left, "at": sa.func.greatest(_BUCKETS.c.at, here), "granted": granted}
    taking = insert(_BUCKETS).values({**keyed, **full})
    return taking.on_conflict_do_update(index_elements=list(keyed), set_=changed).returning(
        _BUCKETS.c.tokens, _BUCKETS.c.at, _BUCKETS.c.granted
    )


_TAKE = Query(_take())


class RateRepository(Repository):
    """Stores token buckets, shared by all gateways; fulfils `RateBuckets`."""

    async def take(self, bucket: str, rate: Rate, now: datetime) -> RateDecision:
        """Takes one token, if there is one."""
        numbers = {"limit": float(rate.limit), "per": rate.per_seconds, "burst": float(rate.burst), "now": now}
        row = await self._connection.one(_TAKE, {**self._of(bucket=bucket), **numbers})
        return outcome(Bucket(row.tokens, row.at), rate, now, allowed=row.granted)
