"""Standard streams and arguments as a shell can hand them over: closed, full, or no text."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.cli.conftest import Done
from tests.cli.stub_gateway import Entry, StubGateway

Serve = Callable[[list[Entry]], StubGateway]
NOT_TEXT = b"caf\xe9"
COMMANDS = (
    ("run", "{}"),
    ("say", "01890000-0000-7000-8000-000000000001", "{}"),
    ("agents", "show", "{}"),
    ("audit", "verify", "{}"),
    ("{}",),
)


@pytest.fixture
def shell(environment: dict[str, str], tmp_path: Path) -> Callable[..., Done]:
    """Runs the command by a line of a shell, in which `$TASKFORCE` is the command."""

    def run(line: str, *arguments: bytes, env: Mapping[str, str] | None = None) -> Done:
        command: Sequence[str | bytes] = ["/bin/bash", "-c", line, "bash", *arguments]
        given = {**environment, "PYTHON": sys.executable, **(env or {})}
        done = subprocess.run(
            command, env=given, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )
        return Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    return run


def one_line_of(done: Done) -> str:
    lines = [line for line in done.err.splitlines() if line.strip()]
    assert "Traceback" not in done.err
    assert 1 <= len(lines) <= 2, done.err  # what went wrong, and perhaps what to do about it
    return lines[0]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_argument_that_is_no_text_is_refused_in_a_line(
    shell: Callable[..., Done], gateway: Serve, command: tuple[str, ...]
) -> None:
    stub = gateway([])
    arguments = [os.fsencode(word).replace(b"{}", NOT_TEXT) for word in command]
    done = shell('"$PYTHON" -m cli "$@"', *arguments)
    assert done.code == 2
    assert "not UTF-8 text" in one_line_of(done)
    assert stub.asked == []


def test_with_json_the_refusal_is_a_document(shell: Callable[..., Done]) -> None:
    done = shell('"$PYTHON" -m cli "$@"', b"run", b"--json", NOT_TEXT)
    assert done.code == 2
    assert json.loads(done.out)["error"]["code"] == "argument_not_text"


def test_a_mission_on_standard_input_that_is_no_text_is_refused_in_a_line(
    shell: Callable[..., Done], gateway: Serve
) -> None:
    gateway([])
    done = shell(r"""printf 'a caf\351' | "$PYTHON" -m cli run -""")
    assert done.code == 2
    assert "Standard input is not UTF-8 text: byte 6 is 0xe9." in one_line_of(done)


@pytest.mark.parametrize("command", ["run -", "audit verify -"])
def test_a_closed_standard_input_is_told_in_a_line(shell: Callable[..., Done], gateway: Serve, command: str) -> None:
    gateway([])
    done = shell(f'"$PYTHON" -m cli {command} <&-')
    assert done.code in {1, 2}
    one_line_of(done)


@pytest.mark.parametrize("command", ["runs", "--help", "token --json"])
@pytest.mark.parametrize(("target", "reason"), [("> /dev/full", "No space left"), (">&-", "Bad file descriptor")])
def test_a_full_or_closed_standard_output_is_told_in_a_line(
    shell: Callable[..., Done], gateway: Serve, command: str, target: str, reason: str
) -> None:
    gateway([])
    done = shell(f'"$PYTHON" -m cli {command} {target}', env={"JWT_SECRET": "x" * 40})
    assert done.code == 1
    assert reason in one_line_of(done)


@pytest.mark.parametrize("command", ["runs", "--help"])
def test_a_reader_who_has_seen_enough_is_no_trouble(
    environment: dict[str, str], gateway: Serve, command: str, tmp_path: Path
) -> None:
    gateway([])
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "cli", *command.split()],
            env={**environment, "JWT_SECRET": "x" * 40},
            cwd=tmp_path,
            stdout=output,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("target", ["2>&-", "2> /dev/full"])
def test_complaints_that_nobody_can_read_change_nothing(
    shell: Callable[..., Done], gateway: Serve, target: str
) -> None:
    gateway([])
    done = shell(f'"$PYTHON" -m cli runs --json {target}')
    assert done.code == 0
    assert "items" in json.loads(done.out)
    assert shell(f'"$PYTHON" -m cli show nothing {target}').code == 2


def test_a_token_may_end_in_a_newline(shell: Callable[..., Done], gateway: Serve) -> None:
    stub = gateway([])
    assert shell('"$PYTHON" -m cli runs --json', env={"TASKFORCE_TOKEN": "a-token\r\n"}).code == 0
    assert stub.tokens == {"Bearer a-token"}


@pytest.mark.parametrize("token", ["a\nb", "a b", "é", "a\x7f"])
def test_a_token_that_no_header_can_carry_is_named(shell: Callable[..., Done], gateway: Serve, token: str) -> None:
    gateway([])
    done = shell('"$PYTHON" -m cli runs', env={"TASKFORCE_TOKEN": token})
    assert done.code == 2
    assert "token" in one_line_of(done)


def test_a_text_in_a_file_that_no_request_can_carry_is_refused_in_a_line(
    shell: Callable[..., Done], gateway: Serve, tmp_path: Path
) -> None:
    gateway([])
    (tmp_path / "context.json").write_text('{"a": "\\ud800"}')
    done = shell('"$PYTHON" -m cli run x --context @context.json')
    assert done.code == 2
    one_line_of(done)
