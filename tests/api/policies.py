"""Policies over HTTP."""

import httpx

POLICIES = "/api/v1/admin/policies"


def document(*rules: dict[str, object]) -> dict[str, object]:
    return {"version": 1, "rules": list(rules)}


async def saved(admin: httpx.AsyncClient, *rules: dict[str, object]) -> None:
    """Saves a policy, and waits until it counts: a second at most."""
    answer = await admin.put(POLICIES, json=document(*rules))
    assert answer.is_success, answer.text
