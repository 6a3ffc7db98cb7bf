"""Alembic's entry: runs the migrations on the connection that `models.migrations.runner` opened."""

import sqlalchemy as sa
from alembic import context

from models.tables.metadata import METADATA

connection: sa.Connection = context.config.attributes["connection"]
# Each migration commits by itself: no lock outlasts it, and indexes can be built outside a transaction.
context.configure(connection=connection, target_metadata=METADATA, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
