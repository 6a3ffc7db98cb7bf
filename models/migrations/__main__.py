"""`python -m models.migrations upgrade`: brings the database of MIGRATION_DATABASE_URL to the newest schema."""

import asyncio
import sys

from models.migrations.runner import upgrade
from taskforce.core.domain.errors import DomainError
from taskforce.infrastructure.config.settings import Settings


def main() -> int:
    """Runs the upgrade and returns the exit code."""
    try:
        settings = Settings.from_env()
        asyncio.run(upgrade(settings.migration_url))
    except DomainError as error:
        sys.stderr.write(f"{error.code}: {error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
