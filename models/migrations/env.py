"""Alembic's entry: runs the migrations on the connection that `models.migrations.runner` opened."""

import sqlalchemy as sa
from alembic import context

from models.tables.metadata import METADATA

connection: sa.Connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
