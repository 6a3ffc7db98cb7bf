"""Column types and constructors shared by all tables."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlmodel import Field

UUID = sa.Uuid(as_uuid=False)
TIME = sa.DateTime(timezone=True)
TEXTS = pg.ARRAY(sa.Text())


def key(kind: Any = sa.Text, **kwargs: Any) -> Any:  # noqa: ANN401 - SQLModel's own Field is untyped
    """Makes a column of the primary key; `tenant_id` is its first column in every table."""
    return Field(sa_type=kind, primary_key=True, **kwargs)


def column(kind: Any = sa.Text, **kwargs: Any) -> Any:  # noqa: ANN401 - SQLModel's own Field is untyped
    """Makes a column that is not nullable."""
    return Field(sa_type=kind, nullable=False, **kwargs)


def maybe(kind: Any = sa.Text, **kwargs: Any) -> Any:  # noqa: ANN401 - SQLModel's own Field is untyped
    """Makes a nullable column."""
    return Field(default=None, sa_type=kind, nullable=True, **kwargs)
