"""Logs: one JSON object a line, with its context, without secrets."""

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from taskforce.infrastructure.logging import bind, configure_logging, forget

SECRET = "hunter2-hunter2"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level, configured = list(root.handlers), root.level, structlog.get_config()
    target = io.StringIO()
    configure_logging("info", secrets=[SECRET], stream=target)
    yield target
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**configured)
    forget()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_time_level_and_context(stream: io.StringIO) -> None:
    bind(request_id="r-1", tenant_id="acme", run_id=None)
    structlog.get_logger("gateway").info("http.request", status=200)
    structlog.get_logger("gateway").debug("not.written")
    (line,) = lines(stream)
    assert line["event"] == "http.request"
    assert (line["level"], line["status"], line["request_id"], line["tenant_id"]) == ("info", 200, "r-1", "acme")
    assert line["timestamp"].endswith("Z")
    assert "run_id" not in line


def test_secrets_are_taken_out_wherever_they_are(stream: io.StringIO) -> None:
    error = RuntimeError(f"cannot log in with {SECRET}")
    structlog.get_logger().error("failed", deep={"list": [f"x{SECRET}"]}, exc_info=error)
    logging.getLogger("somebody.else").warning("Bearer %s", "abcdefgh12345678")
    text = stream.getvalue()
    assert SECRET not in text
    assert "abcdefgh12345678" not in text
    failed, foreign = lines(stream)
    assert failed["deep"] == {"list": ["x***"]}
    assert "RuntimeError" in failed["exception"]
    assert foreign["logger"] == "somebody.else"


@pytest.mark.parametrize("tenant", ["acme-sig", "token", "sk-Customers-2024", "AKIA0123456789ABCDEF"])
def test_a_tenants_id_may_look_like_anything(stream: io.StringIO, tenant: str) -> None:
    run_id = "0190aaaa-0000-7000-8000-000000000001"
    bind(tenant_id=tenant, workflow_id=f"{tenant}:run:{run_id}", session_id=f"{tenant}:session-1")
    structlog.get_logger().info("run.started")
    (line,) = lines(stream)
    assert (line["tenant_id"], line["workflow_id"]) == (tenant, f"{tenant}:run:{run_id}")
    assert line["session_id"] == f"{tenant}:session-1"


def test_what_is_known_to_be_secret_is_no_id(stream: io.StringIO) -> None:
    structlog.get_logger().info("said", tenant_id=SECRET, session_id=f"Bearer {SECRET}", workflow_id=f"{SECRET}:run:1")
    assert SECRET not in stream.getvalue()


def test_a_text_cannot_forge_a_line(stream: io.StringIO) -> None:
    structlog.get_logger().info("said", text='\n{"event": "forged"}\u2028\ud800')
    (line,) = lines(stream)
    assert line["event"] == "said"


def test_a_text_does_not_move_a_terminals_cursor(stream: io.StringIO) -> None:
    configure_logging("INFO", as_json=False, stream=stream)
    hostile = "a\x1b[2J\x1b[31m\x9b1A\rb\u202ec"
    structlog.get_logger().info("http.request", path=hostile)
    logging.getLogger("somebody.else").warning("Invalid: %s\nforged", hostile)
    failure = RuntimeError(f"{hostile}\nmore")
    structlog.get_logger().error("failed", exc_info=failure)
    told = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert not set("\x1b\x9b\r\u202e") & set(told)
    assert told.count("\\x1b[2J") == 3
    assert "\nforged" not in told
    assert "RuntimeError: a\\x1b[2J" in told
    assert "\nmore" in told
