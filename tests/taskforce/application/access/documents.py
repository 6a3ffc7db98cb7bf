"""Policy documents, sound and spoilt."""

from typing import Any

from tests.taskforce.application.scenario import Stage

Document = dict[str, Any]


def document(*rules: Document) -> Document:
    return {"version": 1, "rules": list(rules)}


def deny(rule_id: str = "stop", *actions: str, **keys: object) -> Document:
    return {"id": rule_id, "effect": "deny", "actions": list(actions or ("agent:execute",))} | keys


async def spoil(stage: Stage) -> None:
    """A document of a form that this version does not know."""
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.policies.add({"version": 2, "rules": []}, "the future", stage.now)
