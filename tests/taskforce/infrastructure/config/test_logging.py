"""A process logs as its profile says."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.config.logging import log_as_deployed
from taskforce.infrastructure.config.settings import Settings
from taskforce.infrastructure.logging import bind, forget

WHOSE = {"tenant_id": "acme", "user_id": "alice", "session_id": "acme:session-1", "agent_id": "assistant"}


class Terminal(io.StringIO):
    """Somebody watches."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def undisturbed() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, configured = list(root.handlers), root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**configured)
    forget()


def logged(
    directory: Path, monkeypatch: pytest.MonkeyPatch, section: str, *, name: str = "mine", stream: io.StringIO
) -> str:
    """What stands in the log of a process with such a profile, of one line each of three levels."""
    (directory / f"{name}.yaml").write_text(f"profile: {name}\n{section}\n")
    monkeypatch.setattr(sys, "stderr", stream)
    log_as_deployed(Settings(TASKFORCE_PROFILE=name, TASKFORCE_CONFIG_DIR=directory))
    bind(request_id="r-1", **WHOSE)
    for level in ("debug", "info", "error"):
        getattr(structlog.get_logger(), level)(f"said.{level}", agent_id="assistant")
    return stream.getvalue()


def facts(text: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("section", "kept"),
    [
        ("", set(WHOSE)),
        ("logging: {include_context: }", set(WHOSE)),
        ("logging: {include_context: [tenant_id, user_id, session_id, agent_id]}", set(WHOSE)),
        ("logging: {include_context: [tenant_id, agent_id]}", {"tenant_id", "agent_id"}),
        ("logging: {include_context: []}", set()),
    ],
)
def test_a_line_says_whose_it_is_as_far_as_the_profile_wants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, kept: set[str]
) -> None:
    for line in facts(logged(tmp_path, monkeypatch, section, stream=io.StringIO())):
        assert set(line) & set(WHOSE) == kept
        assert line["request_id"] == "r-1"


@pytest.mark.parametrize(
    ("section", "variable", "written"),
    [
        ("", None, ["info", "error"]),
        ("logging: {level: ERROR}", None, ["error"]),
        ("logging: {level: debug}", None, ["debug", "info", "error"]),
        ("logging: {level: ERROR}", "DEBUG", ["debug", "info", "error"]),
    ],
)
def test_the_level_is_the_profiles_unless_the_environment_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, variable: str | None, written: list[str]
) -> None:
    if variable is not None:
        monkeypatch.setenv("TASKFORCE_LOG_LEVEL", variable)
    found = facts(logged(tmp_path, monkeypatch, section, stream=io.StringIO()))
    assert [line["level"] for line in found] == written


@pytest.mark.parametrize(
    ("name", "section", "stream", "is_json"),
    [
        ("mine", "", Terminal(), True),
        ("mine", "logging: {level: INFO}", Terminal(), True),
        ("mine", "logging: {format: json}", Terminal(), True),
        ("dev", "logging: {format: json}", Terminal(), True),
        ("mine", "logging: {format: console}", io.StringIO(), False),
        ("dev", "", Terminal(), False),
        ("dev", "", io.StringIO(), True),
    ],
)
def test_lines_are_json_unless_a_developer_watches_or_the_profile_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, section: str, stream: io.StringIO, is_json: bool
) -> None:
    text = logged(tmp_path, monkeypatch, section, name=name, stream=stream)
    assert all(line.startswith("{") for line in text.splitlines()) == is_json
    # Colours are for terminals; in a file they would be noise.
    assert ("\x1b[" in text) == (not is_json and stream.isatty())


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ("{level: loud}", "logging.level"),
        ("{format: xml}", "logging.format"),
        ("{include_context: [tenant_id, mission]}", "logging.include_context.1"),
        ("{include_context: tenant_id}", "logging.include_context"),
    ],
)
def test_what_makes_no_sense_is_named_before_anything_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, named: str
) -> None:
    with pytest.raises(Invalid, match=named) as refused:
        logged(tmp_path, monkeypatch, f"logging: {section}", stream=io.StringIO())
    assert refused.value.code == "profile_invalid"


def test_secrets_of_the_environment_are_in_no_line_of_either_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "hunter2-hunter2")
    for form in ("json", "console"):
        stream = io.StringIO()
        logged(tmp_path, monkeypatch, f"logging: {{format: {form}}}", stream=stream)
        structlog.get_logger().error("failed", detail="x hunter2-hunter2", exc_info=RuntimeError("hunter2-hunter2"))
        logging.getLogger("somebody.else").error("hunter2-hunter2")
        assert "RuntimeError" in stream.getvalue()
        assert "hunter2" not in stream.getvalue()
