"""The web, through the guarded client."""

import re
from typing import Annotated

from pydantic import Field

from taskforce.core.interfaces.tools import HttpReply, ToolContext
from taskforce.infrastructure.tools.declaration import tool

Url = Annotated[str, Field(min_length=1, max_length=4096)]
ContentType = Annotated[
    str, Field(max_length=100, pattern=r"^[A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+(; ?charset=[A-Za-z0-9-]+)?$")
]

_TEXTUAL = re.compile(
    r"(?i)\s*(text/[^;]*|application/([\w.-]+\+)?(json|xml|yaml|javascript|x-www-form-urlencoded|x-ndjson))?\s*(;|$)"
)


@tool(idempotent=True, tags=("network", "read"))
async def http_get(url: Url, context: ToolContext) -> dict[str, object]:
    """Fetches a public web address with HTTP GET.

    Args:
        url: An http or https URL.
        context: Lent by the product; the model does not see it.
    """
    return _result(await context.http.request("GET", url))


@tool(needs_approval=True, tags=("network", "write"))
async def http_post(
    url: Url, body: str, context: ToolContext, content_type: ContentType = "application/json"
) -> dict[str, object]:
    """Sends a body to a public web address with HTTP POST. A person has to approve it first.

    Args:
        url: An http or https URL.
        body: The body as text.
        context: Lent by the product; the model does not see it.
        content_type: The body's media type.
    """
    # By the key, which is the same in a retry, the receiver can recognise a request that it has had.
    headers = {"Content-Type": content_type, "Idempotency-Key": context.effect_key}
    reply = await context.http.request("POST", url, headers=headers, body=body.encode("utf-8", errors="replace"))
    return _result(reply)


def _result(reply: HttpReply) -> dict[str, object]:
    content_type = reply.headers.get("content-type", "")
    result: dict[str, object] = {"status": reply.status, "url": reply.url, "content_type": content_type}
    if not _TEXTUAL.match(content_type):
        return {**result, "body": "", "note": "The body is not text and is left out."}
    note = {"note": "The body was longer and is cut."} if reply.truncated else {}
    location = {"location": reply.headers["location"]} if "location" in reply.headers else {}
    return {**result, **location, "body": reply.body, **note}
