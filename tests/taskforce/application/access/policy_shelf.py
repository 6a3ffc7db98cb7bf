"""Policies that are kept in memory."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime

from taskforce.application.access.policy_engine import PolicyEngine
from taskforce.core.domain.access.policies import Policy
from taskforce.core.domain.access.policy_documents import parse
from taskforce.core.interfaces.identity import ResourceType

NOW = datetime(2026, 1, 14, 12, tzinfo=UTC)
"""A Wednesday."""


@dataclass
class Shelf:
    """Policies by tenant, and tags by resource; remembers whose tags were asked for."""

    documents: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    labels: dict[tuple[str, ResourceType, str], set[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    now: datetime = NOW

    async def policy(self, tenant_id: str) -> Policy:
        return parse({"version": 1, "rules": self.documents.get(tenant_id, [])})

    async def tags(self, tenant_id: str, resource_type: ResourceType, resource_id: str) -> Collection[str]:
        self.asked.append(resource_id)
        return self.labels.get((tenant_id, resource_type, resource_id), set())

    def engine(self) -> PolicyEngine:
        return PolicyEngine(self, self, lambda: self.now)
