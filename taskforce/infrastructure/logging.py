"""Structured logging: one JSON object per line (or colours on a terminal), with context, without secrets."""

import json
import logging
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from taskforce.core.domain.redaction import redact
from taskforce.core.interfaces.tracing import NO_TRACING, Tracer

MAX_TEXT = 20_000
_DEEPEST = 6
_OF_LINES = frozenset({"exception", "stack"})
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_IDS = frozenset({"tenant_id", "workflow_id", "session_id"})
"""Fields that begin with a tenant's id, which may look like anything, the prefix of an API key included."""
_ID = re.compile(r"[A-Za-z0-9._:-]{1,200}")
_QUIET = ("httpx", "httpcore", "urllib3", "asyncio", "LiteLLM", "uvicorn.access")


def configure_logging(
    level: str,
    *,
    secrets: Iterable[str] = (),
    as_json: bool | None = None,
    stream: TextIO | None = None,
    left_out: Collection[str] = (),
    tracer: Tracer = NO_TRACING,
) -> None:
    """Configures structlog, and the standard library's logging through it, for this process.

    Args:
        level: The lowest level that is written, by its name.
        secrets: Values that must never be written.
        as_json: JSON or lines for people; by default JSON unless the stream is a terminal.
        stream: The stream to write to; standard error by default.
        left_out: Names of fields that no line may have.
        tracer: Its current span's ids are in every line.
    """
    target = stream or sys.stderr
    plain = not target.isatty() if as_json is None else as_json
    lowest = logging.getLevelNamesMapping()[level.upper()]
    shared = _shared(tuple(secrets), frozenset(left_out), tracer)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(_formatter(shared, plain=plain, colors=target.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(lowest)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(lowest, logging.WARNING))


def bind(**context: str | None) -> None:
    """Adds fields to every line that is logged from here on in this task, for example `run_id`."""
    structlog.contextvars.bind_contextvars(**{name: value for name, value in context.items() if value is not None})


def forget() -> None:
    """Removes the fields that were bound in this task."""
    structlog.contextvars.clear_contextvars()


def redacting(secrets: Iterable[str]) -> Processor:
    """Builds the processor that redacts secrets in every text of a line, however deeply nested.

    Args:
        secrets: Values that are known to be secret; the rest goes by shape.
    """
    known = tuple(secrets)

    def clean(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {name: _fact(name, value, known) for name, value in event.items()}

    return clean


def _fact(name: str, value: object, known: tuple[str, ...]) -> object:
    is_id = name in _IDS and isinstance(value, str) and _ID.fullmatch(value)
    has_secret = any(one in str(value) for one in known)
    return value if is_id and not has_secret else _cleaned(value, known, _DEEPEST)


def _cleaned(value: object, known: tuple[str, ...], depth: int) -> object:
    if isinstance(value, bool | int | float) or value is None:
        return value
    if depth == 0 or isinstance(value, str):
        return redact(str(value)[:MAX_TEXT], known)
    if isinstance(value, Mapping):
        return {str(name): _cleaned(each, known, depth - 1) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_cleaned(each, known, depth - 1) for each in value]
    return redact(str(value)[:MAX_TEXT], known)


def without(names: Collection[str]) -> Processor:
    """Builds the processor that removes fields from every line, whether bound or logged.

    Args:
        names: The names of the fields.
    """

    def clean(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {name: value for name, value in event.items() if name not in names}

    return clean


def _tracing(tracer: Tracer) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**event, **tracer.log_fields()}

    return add


def _shared(secrets: tuple[str, ...], left_out: Collection[str], tracer: Tracer) -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        *([without(left_out)] if left_out else []),
        *([_tracing(tracer)] if tracer.on else []),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redacting(secrets),
    ]


def _shown(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escapes characters that move a terminal's cursor or change the writing direction; a traceback keeps its lines."""
    spelled: EventDict = {}
    for name, value in event.items():
        lines = value.split("\n") if isinstance(value, str) and name in _OF_LINES else [value]
        cleaned = [_CONTROL.sub(_spelled, one) if isinstance(one, str) else one for one in lines]
        spelled[name] = "\n".join(cleaned) if len(cleaned) > 1 else cleaned[0]
    return spelled


def _spelled(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _formatter(shared: list[Processor], *, plain: bool, colors: bool) -> logging.Formatter:
    rendering: list[Processor] = (
        [structlog.processors.JSONRenderer(serializer=_as_json)]
        if plain
        else [_shown, structlog.dev.ConsoleRenderer(colors=colors)]
    )
    # Other libraries' log lines may hold secrets, so they go through the same redaction.
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
    )


def _as_json(event: object, **_: object) -> str:
    return json.dumps(event, ensure_ascii=True, default=str)
