"""Requests over HTTP of which something follows."""

import httpx

REQUESTS = "/api/v1/admin/requests"


async def asked(client: httpx.AsyncClient, request_type: str, **payload: object) -> str:
    """Asks for something; returns the request's path."""
    wanted = {"request_type": request_type, "title": "May I?", "payload": payload}
    answer = await client.post(REQUESTS, json=wanted)
    assert answer.status_code == 201, answer.text
    return f"{REQUESTS}/{answer.json()['request_id']}"
