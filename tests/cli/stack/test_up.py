"""`taskforce up` as a process, with real servers and stand-ins for our own programs."""

import base64
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import asyncpg
import httpx
import pytest

from cli.stack.home import StackHome, StackState
from cli.stack.ports import free_port, is_free
from cli.stack.postgres import EmbeddedPostgres
from cli.stack.processes import LINUX, ProcessId, wait_until
from cli.stack.schema import newest_revision

REPOSITORY = Path(__file__).parents[3]
MIGRATIONS = REPOSITORY / "models" / "migrations" / "versions"
SECONDS = 60.0


class Up:
    """One `taskforce up`; `read` returns its events as they come."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = StackHome(home / ".taskforce")
        self.ports = [free_port() for _ in range(3)]
        names = ("TASKFORCE_PORT", "TEMPORAL_PORT", "TEMPORAL_UI_PORT")
        ports = dict(zip(names, map(str, self.ports), strict=True))
        cleared = {
            "TEMPORAL_ADDRESS": "",
            "DATABASE_URL": "",
            "JWT_SECRET": "",
            "TASKFORCE_ENCRYPTION_KEY": "",
            "TASKFORCE_SAMPLE": "1",
        }
        place = {"TASKFORCE_HOME": str(self.home.path), "PYTHONPATH": str(REPOSITORY)}
        self.environment = {**os.environ, **cleared, **ports, **place, **environment}
        self.seen: list[dict[str, object]] = []
        self.process = self._start()

    def again(self) -> None:
        self.process.wait(SECONDS)
        self._close()
        self.seen = []
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "tests.cli.stack.stand_ins.up"]
        return subprocess.Popen(command, cwd=REPOSITORY, env=self.environment, stdout=subprocess.PIPE, text=True)

    def event(self, kind: str) -> dict[str, object]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event: dict[str, object] = json.loads(line)
            self.seen.append(event)
            if event["event"] in {kind, "failed"}:
                assert event["event"] == kind, event
                return event
        raise AssertionError(f"it ended without {kind}")

    def told(self, kind: str, name: str) -> list[object]:
        return [event[name] for event in self.seen if event["event"] == kind]

    def state(self) -> StackState:
        state = self.home.read()
        assert state is not None
        return state

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.end()
        self._close()
        EmbeddedPostgres(self.home.postgres).stop()

    def _close(self) -> None:
        if self.process.stdout:
            self.process.stdout.close()


@pytest.fixture
def up(home: Path, temporal: Path) -> Iterator[Up]:
    del temporal  # built before, not while somebody waits
    running = Up(home)
    yield running
    running.close()


def test_it_comes_up_shows_where_everything_is_and_leaves_nothing_behind(up: Up) -> None:
    links = up.event("up")["links"]
    state = up.state()
    assert isinstance(links, dict)
    assert links["OpenAPI"] == f"http://127.0.0.1:{up.ports[0]}/docs"
    assert "acme-corp%3Arun%3A" in links["This run in Temporal"]
    assert state.ready
    assert sorted(state.processes) == ["gateway", "postgres", "temporal", "worker"]
    assert httpx.get(str(state.temporal_ui_url)).is_success
    # A worker that gets the signal before it can hear it does not drain.
    assert wait_until(lambda: "waiting" in up.home.log("worker").read_text(), SECONDS)

    assert up.end(signal.SIGINT) == 0
    assert not any(process.alive() for process in state.processes.values())
    assert all(is_free(port) for port in up.ports)
    assert up.home.read() is None
    assert "drained" in up.home.log("worker").read_text()


def test_worker_and_gateway_get_what_they_need_and_not_the_owner_of_the_tables(up: Up) -> None:
    up.event("up")
    given = httpx.get(f"{up.state().url}/ready").json()
    assert "//taskforce_app:" in given["DATABASE_URL"]
    assert "MIGRATION_DATABASE_URL" not in given
    assert given["JWT_SECRET"] == up.home.development_secret()
    assert given["TASKFORCE_ENCRYPTION_KEY"] == up.home.encryption_key()
    assert given["TEMPORAL_ADDRESS"] == f"127.0.0.1:{up.ports[1]}"


SECRETS = {
    "OPENAI_API_KEY": "sk-of-the-provider",
    "AWS_SECRET_ACCESS_KEY": "of-the-cloud",
    "GITHUB_TOKEN": "of-somebody-else",
    "PAYROLL_TOKEN": "of-a-tool-of-our-own",
    "MAIL_SECRET": "of-a-profile",
    "JWT_SECRET": "signs-tokens-with-thirty-two-bytes",
    "TASKFORCE_ENCRYPTION_KEY": base64.b64encode(bytes(range(32))).decode(),
}


@pytest.mark.skipif(not LINUX, reason="only Linux shows another process's environment")
def test_each_process_sees_only_the_secrets_that_it_needs(home: Path, temporal: Path) -> None:
    del temporal
    (home / "profiles").mkdir(parents=True)
    (home / "profiles" / "dev.yaml").write_text("profile: dev\nwebhooks: ${MAIL_SECRET}\n")
    also = {"TASKFORCE_CONFIG_DIR": str(home / "profiles"), "TASKFORCE_WORKER_VARIABLES": "PAYROLL_*"}
    up = Up(home, **SECRETS, **also)
    up.event("up")
    seen = {name: secrets_of(environment_of(process.pid)) for name, process in up.state().processes.items()}
    migrations = dict(line.split("=", 1) for line in up.home.log("migrations").read_text().splitlines())
    gateway = environment_of(up.state().processes["gateway"].pid)
    up.close()

    kept = {"MAIL_SECRET", "TASKFORCE_ENCRYPTION_KEY"}
    assert seen == {
        "postgres": set(),
        "temporal": set(),
        "worker": {*kept, "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "PAYROLL_TOKEN"},
        "gateway": {*kept, "JWT_SECRET"},
    }
    assert secrets_of(migrations) == set()
    assert "MIGRATION_DATABASE_URL" in migrations
    assert gateway["OPENAI_API_KEY"] == "set"


def environment_of(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def secrets_of(environment: Mapping[str, str]) -> set[str]:
    return {name for name, value in SECRETS.items() if value in environment.values()}


def test_a_second_one_in_the_same_directory_is_refused(up: Up) -> None:
    up.event("up")
    command = [sys.executable, "-m", "tests.cli.stack.stand_ins.up"]
    second = subprocess.run(
        command, cwd=REPOSITORY, env=up.environment, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert second.returncode == 1
    assert json.loads(second.stdout)["code"] == "already_up"
    assert up.state().running()


def test_a_worker_that_dies_is_started_again(up: Up) -> None:
    up.event("up")
    worker = up.state().processes["worker"]
    os.kill(worker.pid, signal.SIGKILL)
    assert "worker ended" in str(up.event("note")["text"])

    def replaced() -> bool:
        found = up.state().processes.get("worker")
        return found is not None and found != worker and found.alive()

    assert wait_until(replaced, SECONDS)


def test_after_kill_9_the_children_end_and_the_next_start_adopts_the_database(up: Up) -> None:
    up.event("up")
    before = up.state()
    up.end(signal.SIGKILL)
    up.again()
    up.event("up")
    after = up.state()
    assert after.processes["postgres"] == before.processes["postgres"]
    assert not any(process.alive() for name, process in before.processes.items() if name != "postgres")


def test_a_leftover_that_would_drain_is_killed_at_once(home: Path, temporal: Path) -> None:
    del temporal
    draining = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", draining], stdout=subprocess.PIPE, text=True) as leftover:
        assert leftover.stdout is not None
        assert leftover.stdout.readline() == "ready\n"
        StackHome(home / ".taskforce").write(state_of_a_dead_supervisor(leftover.pid))
        up = Up(home)
        assert leftover.wait(SECONDS) == -signal.SIGKILL
        assert "ending a worker" in str(up.event("note")["text"])
        up.close()


def state_of_a_dead_supervisor(worker: int) -> StackState:
    process = ProcessId.of(worker)
    assert process is not None
    return StackState(
        url="http://127.0.0.1:8000",
        temporal_address="127.0.0.1:7233",
        temporal_namespace="default",
        temporal_ui_url=None,
        profile="dev",
        supervisor=ProcessId(worker, "long ago"),
        processes={"worker": process},
    )


async def test_migrations_that_are_all_applied_start_no_process(up: Up) -> None:
    up.event("up")
    assert up.told("stage", "note")[1] == "applied"
    newest = newest_revision(MIGRATIONS)
    connection = await asyncpg.connect(EmbeddedPostgres(up.home.postgres).urls().owner)
    await connection.execute(f"CREATE TABLE alembic_version AS SELECT '{newest}' AS version_num")
    await connection.close()

    up.end()
    up.again()
    up.event("up")
    assert up.told("stage", "name")[1] == "Migrations"
    assert up.told("stage", "note")[1] == "at head"


def test_what_it_writes_is_for_this_user_only_also_where_it_was_not(up: Up) -> None:
    up.event("up")
    up.end()
    (up.home.logs / "worker.log").chmod(0o644)
    up.home.temporal_database.parent.chmod(0o755)
    up.again()
    up.event("up")
    directories = [up.home.logs, up.home.temporal_database.parent]
    files = [file for directory in directories for file in directory.iterdir()]
    assert {"worker.log", "migrations.log", "temporal.db"} <= {file.name for file in files}
    assert {stat.S_IMODE(path.stat().st_mode) for path in directories} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as somebody else")
def test_root_is_told_once_which_directories_were_opened(up: Up) -> None:
    up.event("up")
    assert any(str(up.home.path.parent) in str(text) for text in up.told("note", "text"))
    up.end()
    up.again()
    up.event("up")
    assert up.told("note", "text") == []


def test_a_signal_in_the_middle_of_the_start_leaves_nothing_behind(up: Up) -> None:
    assert wait_until(lambda: (state := up.home.read()) is not None and "temporal" in state.processes, SECONDS)
    processes = up.state().processes
    assert up.end(signal.SIGINT) == 0
    assert not any(process.alive() for process in processes.values())
    assert not EmbeddedPostgres(up.home.postgres).is_running()


def test_a_taken_port_is_a_clear_refusal(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        up = Up(home, TASKFORCE_PORT=str(taken.getsockname()[1]))
        event = up.event("failed")
        assert up.process.wait(SECONDS) == 1
        up.close()
    assert event["code"] == "port_taken"
    assert "TASKFORCE_PORT=" in str(event["message"])


def test_outside_development_no_secret_is_made_up(home: Path) -> None:
    up = Up(home, TASKFORCE_PROFILE="enterprise")
    event = up.event("failed")
    up.process.wait(SECONDS)
    up.close()
    assert event["code"] == "bad_setting"
    assert not (up.home.path / "dev-secret").exists()


def test_outside_development_no_encryption_key_is_made_up(home: Path) -> None:
    up = Up(home, TASKFORCE_PROFILE="enterprise", JWT_SECRET="x" * 32)
    event = up.event("failed")
    up.process.wait(SECONDS)
    up.close()
    assert event["code"] == "bad_setting"
    assert "TASKFORCE_ENCRYPTION_KEY" in str(event["message"])
    assert not (up.home.path / "encryption-key").exists()
