"""The tables of budgets, their ledgers, and what calls that are under way have reserved."""

from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlmodel import SQLModel

from models.tables.columns import TIME, UUID, column, key, maybe


class BudgetRow(SQLModel, table=True):
    """A budget."""

    __tablename__ = "budgets"

    tenant_id: str = key()
    budget_id: str = key(UUID)
    name: str = column()
    scope: str = column()
    scope_id: str = column()
    unit: str = column()
    currency: str | None = maybe()
    period: str = column()
    limit_amount: Decimal = column(sa.Numeric)
    soft: Decimal = column(sa.Numeric)
    on_exceed: str = column()
    unpriced: str = column()
    created_by: str = column()
    created_at: datetime = column(TIME)
    updated_at: datetime = column(TIME)


class BudgetLedgerRow(SQLModel, table=True):
    """The use of a budget by one subject in one period."""

    __tablename__ = "budget_ledgers"

    tenant_id: str = key()
    budget_id: str = key(UUID)
    subject: str = key()
    period_start: datetime = key(TIME)
    spent: Decimal = column(sa.Numeric)
    reserved: Decimal = column(sa.Numeric)
    raised_by: Decimal = column(sa.Numeric)
    soft_told_at: datetime | None = maybe(TIME)


class BudgetReservationRow(SQLModel, table=True):
    """The reservation of a ledger by an attempt of a model call; step 0 is the run itself."""

    __tablename__ = "budget_reservations"

    tenant_id: str = key()
    run_id: str = key(UUID)
    step: int = key(sa.Integer)
    call: int = key(sa.Integer)
    attempt: int = key(sa.Integer)
    budget_id: str = key(UUID)
    subject: str = column()
    period_start: datetime = column(TIME)
    amount: Decimal = column(sa.Numeric)
    at: datetime = column(TIME)
