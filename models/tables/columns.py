"""Column kinds that every table shares, so that a noun's module reads like the noun."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlmodel import Field

UUID = sa.Uuid(as_uuid=False)
TIME = sa.DateTime(timezone=True)
TEXTS = pg.ARRAY(sa.Text())


def key(kind: Any = sa.Text, **kwargs: Any) -> Any:  # noqa: ANN401 - SQLModel's own Field is untyped
    """A column of the primary key; `tenant_id` leads it in every table."""
    return Field(sa_type=kind, primary_key=True, **kwargs)


def column(kind: Any = sa.Text, **kwargs: Any) -> Any:  # noqa: ANN401 - SQLModel's own Field is untyped
    """A column that must have a value."""
    return Field(sa_type=kind, nullable=False, **kwargs)


def maybe(kind: Any = sa.Text, **kwargs: Any) -> Any:  # noqa: ANN401 - SQLModel's own Field is untyped
    """A column that may be empty."""
    return Field(default=None, sa_type=kind, nullable=True, **kwargs)
