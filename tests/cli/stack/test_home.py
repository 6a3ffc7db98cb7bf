"""State, lock and secret of a local stack; ports; processes."""

import base64
import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from cli.stack.home import StackHome, StackState
from cli.stack.locks import exclusive
from cli.stack.ports import free_port, holder, is_free, require_free
from cli.stack.processes import Child, ProcessId, environment_without, wait_until
from taskforce.core.domain.errors import Conflict


def own() -> ProcessId:
    process = ProcessId.of(os.getpid())
    assert process is not None
    return process


def state() -> StackState:
    return StackState(
        url="http://127.0.0.1:8000",
        temporal_address="127.0.0.1:7233",
        temporal_namespace="default",
        temporal_ui_url=None,
        profile="dev",
        supervisor=own(),
        processes={"gateway": own()},
    )


def test_state_is_read_back_and_is_private(home: Path) -> None:
    stack = StackHome(home / ".taskforce")
    assert stack.read() is None
    stack.write(state())
    assert stack.read() == state()
    assert stat.S_IMODE((stack.path / "state.json").stat().st_mode) == 0o600
    stack.forget()
    assert stack.read() is None


def test_a_state_that_cannot_be_read_counts_as_none(home: Path) -> None:
    (home / "state.json").write_text('{"version": 2}')
    assert StackHome(home).read() is None


def test_a_state_of_a_process_that_is_gone_is_not_running() -> None:
    assert state().running()
    recycled = state().model_copy(update={"supervisor": ProcessId(os.getpid(), "long ago")})
    assert not recycled.running()


def test_the_development_secret_is_made_once_and_is_private(home: Path) -> None:
    secret = StackHome(home).development_secret()
    assert len(bytes.fromhex(secret)) == 32
    assert StackHome(home).development_secret() == secret
    assert stat.S_IMODE((home / "dev-secret").stat().st_mode) == 0o600


def test_a_lock_says_who_holds_it(home: Path) -> None:
    with exclusive(home / "lock", seconds=0):
        with pytest.raises(Conflict) as refused, exclusive(home / "lock", seconds=0):
            pass
        assert str(os.getpid()) in refused.value.message
    with exclusive(home / "lock", seconds=0):
        pass


def test_a_taken_port_names_the_variable_and_the_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Conflict) as refused:
            require_free(port, "TASKFORCE_PORT")
        assert "TASKFORCE_PORT" in refused.value.message
        if sys.platform == "linux":
            assert f"pid {os.getpid()}" in str(holder(port))
    assert is_free(port)
    require_free(free_port(), "TASKFORCE_PORT")


def test_a_child_that_ignores_a_polite_request_is_killed(home: Path) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True)\n"
    command = [sys.executable, "-c", stubborn + "while True: time.sleep(1)"]
    child = Child("stubborn", command, log=home / "log", environment=environment_without(), directory=home)
    child.start()
    identity = child.identity()
    assert wait_until(lambda: child.last_words() == "ready", 60)
    child.stop(grace_seconds=0.1)
    assert identity is not None
    assert not identity.alive()
    assert child.exit_code() == -9


def test_the_key_of_sealed_columns_is_made_once_and_is_private(home: Path) -> None:
    key = StackHome(home).encryption_key()
    assert len(base64.b64decode(key)) == 32
    assert StackHome(home).encryption_key() == key
    assert key != StackHome(home).development_secret()
    assert stat.S_IMODE((home / "encryption-key").stat().st_mode) == 0o600
