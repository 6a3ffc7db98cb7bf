"""Routes whose ids may hold slashes."""

import re
from typing import Any, Final
from urllib.parse import unquote

from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

_ENCODED_SLASH: Final = re.compile("%2f", re.IGNORECASE)
# No path that is decoded holds a lone surrogate.
_IN_ID: Final = "\udc2f"


class SlashedIdRoute(APIRoute):
    """A route that takes an id with encoded slashes as one segment.

    Servers decode a path before it is routed, so that the user `bob/grants` would look like the grants of `bob`.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Matches the path by its segments as they were sent."""
        raw = scope.get("raw_path")
        if not isinstance(raw, bytes) or not _ENCODED_SLASH.search(raw.decode("latin-1")):
            return super().matches(scope)
        sent = _IN_ID.join(map(unquote, _ENCODED_SLASH.split(raw.decode("latin-1"))))
        match, found = super().matches({**scope, "path": sent})
        parameters: dict[str, Any] = found.get("path_params", {})
        named = {name: one.replace(_IN_ID, "/") if isinstance(one, str) else one for name, one in parameters.items()}
        return match, {**found, "path_params": named} if found else found
