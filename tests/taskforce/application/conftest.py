"""The stage that every use case stands on."""

import pytest

from taskforce.infrastructure.persistence.database import Database
from tests.taskforce.application.scenario import Stage


@pytest.fixture
def stage(database: Database, tenant: str) -> Stage:
    return Stage(database, tenant)
