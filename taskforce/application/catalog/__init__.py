"""The catalog for people who embed the library (guide 4.1)."""

from taskforce.application.catalog.in_memory import AgentCatalog
from taskforce.application.catalog.in_memory_views import CatalogEntry, CatalogVersion
from taskforce.core.domain.catalog.version import VersionStatus

__all__ = ["AgentCatalog", "CatalogEntry", "CatalogVersion", "VersionStatus"]
