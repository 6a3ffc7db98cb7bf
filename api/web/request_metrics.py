"""ASGI middleware that tells what becomes of each request, for the metrics."""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskforce.core.domain.identity.principals import Principal
from taskforce.core.interfaces.metrics import FactObserver, RequestAnswered

UNMATCHED: Final = "unmatched"
"""The endpoint of paths that no route has: anybody may ask for any number of them."""
ABANDONED: Final = 499
"""The status of requests whose client was gone before an answer began, as nginx has it."""
_PARAMETER: Final = re.compile(r"{[^}]+}")
_STREAMS: Final = ("text/event-stream", "application/x-ndjson")


class RouteTemplates:
    """Finds the templates of routes.

    Args:
        prefixes: The prefixes under which routes are served, longest first; a route knows its own path only.
        documented: Returns the templates of the documented paths, for requests that do not come to their route.
    """

    def __init__(self, prefixes: Sequence[str], documented: Callable[[], Iterable[str]]) -> None:
        self._prefixes = prefixes
        self._documented = documented

    def of(self, scope: Scope) -> str:
        """Returns the template of a request's route; `unmatched` where there is none."""
        own = getattr(scope.get("route"), "path", None)
        path: str = scope["path"]
        if isinstance(own, str):
            prefix = self._prefix(path)
            return own if own.startswith(prefix) else f"{prefix}{own}"
        # What was refused because of its body, before its route was looked for; a path that has none was looked for.
        return UNMATCHED if "router" in scope else self._matching(path)

    def _prefix(self, path: str) -> str:
        return next((one for one in self._prefixes if path.startswith(f"{one}/")), "")

    def _matching(self, path: str) -> str:
        prefix = self._prefix(path)
        plain = f"{self._prefixes[0]}{path.removeprefix(prefix)}" if prefix else path
        found = next((template for pattern, template in self._patterns if pattern.fullmatch(plain)), None)
        return UNMATCHED if found is None else f"{prefix}{found.removeprefix(self._prefixes[0])}" if prefix else found

    @cached_property
    def _patterns(self) -> Sequence[tuple[re.Pattern[str], str]]:
        # Those without parameters first: `/agents/import` is no agent's.
        templates = sorted(self._documented(), key=lambda one: one.count("{"))
        return [(re.compile(_PARAMETER.sub("[^/]+", one)), one) for one in templates]


class RequestMetrics:
    """Tells an observer of each request: the template of its route, method, status, duration and tenant.

    Args:
        app: The next application.
        observer: Who is told.
        templates: Finds the templates of routes.
    """

    def __init__(self, app: ASGIApp, observer: FactObserver, templates: RouteTemplates) -> None:
        self._app = app
        self._observer = observer
        self._templates = templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            await self._app(scope, receive, answer)
        finally:
            fact = RequestAnswered(self._templates.of(scope), scope["method"], answer.status, answer.seconds())
            self._observer.observed(_tenant(scope), [fact])


class _Answer:
    """Notes the status of an answer, and when it was done: a stream, as soon as it begins."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._began = time.perf_counter()
        self._done: float | None = None
        self.status = ABANDONED

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if Headers(raw=message["headers"]).get("content-type", "").startswith(_STREAMS):
                self._done = time.perf_counter()
        await self._send(message)

    def seconds(self) -> float:
        return (self._done or time.perf_counter()) - self._began


def _tenant(scope: Scope) -> str:
    # Who has no accepted credential may name any tenant.
    principal = scope.get("state", {}).get("principal")
    return principal.tenant.tenant_id if isinstance(principal, Principal) else ""
