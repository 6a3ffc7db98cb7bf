"""The tables of usage buckets and days."""

from datetime import date, datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlmodel import SQLModel

from models.tables.columns import TIME, column, key


class UsageBucketRow(SQLModel, table=True):
    """Sums of usage within 15 minutes, of all records that agree in their dimensions; an empty text stands for none.

    Buckets of usage records are written by functions of the database only. Of what is not recorded one by one, such as
    storage, there is a bucket alone.
    """

    __tablename__ = "usage_buckets"

    tenant_id: str = key()
    bucket: datetime = key(TIME)
    records: int = column(sa.BigInteger)
    failed: int = column(sa.BigInteger)
    input_tokens: int = column(sa.BigInteger)
    output_tokens: int = column(sa.BigInteger)
    cached_tokens: int = column(sa.BigInteger)
    cache_write_tokens: int = column(sa.BigInteger)
    reasoning_tokens: int = column(sa.BigInteger)
    audio_input_tokens: int = column(sa.BigInteger)
    audio_output_tokens: int = column(sa.BigInteger)
    wasted_tokens: int = column(sa.BigInteger)
    estimated_tokens: int = column(sa.BigInteger)
    duration_ms: int = column(sa.BigInteger)
    unpriced: int = column(sa.BigInteger)
    kind: str = key()
    user_id: str = key()
    agent_id: str = key()
    agent_version: str = key()
    model: str = key()
    provider: str = key()
    tool: str = key()
    department: str = key()
    cost_center: str = key()
    currency: str = key()
    cost: Decimal = column(sa.Numeric)
    quantity: Decimal = column(sa.Numeric)


class UsageDayRow(SQLModel, table=True):
    """The same sums by day of the tenant's time zone, that of `tenants.usage_zone`; written by the database only."""

    __tablename__ = "usage_days"

    tenant_id: str = key()
    day: date = key(sa.Date)
    records: int = column(sa.BigInteger)
    failed: int = column(sa.BigInteger)
    input_tokens: int = column(sa.BigInteger)
    output_tokens: int = column(sa.BigInteger)
    cached_tokens: int = column(sa.BigInteger)
    cache_write_tokens: int = column(sa.BigInteger)
    reasoning_tokens: int = column(sa.BigInteger)
    audio_input_tokens: int = column(sa.BigInteger)
    audio_output_tokens: int = column(sa.BigInteger)
    wasted_tokens: int = column(sa.BigInteger)
    estimated_tokens: int = column(sa.BigInteger)
    duration_ms: int = column(sa.BigInteger)
    unpriced: int = column(sa.BigInteger)
    kind: str = key()
    user_id: str = key()
    agent_id: str = key()
    agent_version: str = key()
    model: str = key()
    provider: str = key()
    tool: str = key()
    department: str = key()
    cost_center: str = key()
    currency: str = key()
    cost: Decimal = column(sa.Numeric)
    quantity: Decimal = column(sa.Numeric)
