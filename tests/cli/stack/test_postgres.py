"""The embedded PostgreSQL, started for real."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from cli.stack.postgres import EmbeddedPostgres, PostgresUrls
from cli.stack.postgres_account import Account
from cli.stack.postgres_programs import programs
from cli.stack.processes import ProcessId, wait_until
from taskforce.core.domain.errors import Conflict, Invalid
from taskforce.infrastructure.config.settings import normalise_database_url

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with tempfile.TemporaryDirectory(prefix="tf-") as directory:
        embedded = EmbeddedPostgres(Path(directory) / "postgres", durable=False)
        embedded.start()
        yield embedded
        embedded.stop()


@pytest.fixture
def urls(server: EmbeddedPostgres) -> PostgresUrls:
    return server.urls()


async def value(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_the_application_is_an_ordinary_user(urls: PostgresUrls) -> None:
    powers = (
        "SELECT rolsuper OR rolbypassrls OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
    )
    assert await value(urls.app, "SELECT current_user") == "taskforce_app"
    assert await value(urls.app, powers) is False
    assert await value(urls.owner, powers) is False


async def test_the_application_can_make_nothing(urls: PostgresUrls) -> None:
    for statement in ("CREATE TABLE t (id int)", "CREATE TEMPORARY TABLE t (id int)", "CREATE SCHEMA s"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await value(urls.app, statement)


async def test_the_owner_owns_the_database_and_can_migrate_it(urls: PostgresUrls) -> None:
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
    assert await value(urls.app, owner) == "taskforce_owner"
    await value(urls.owner, "CREATE TABLE owned (id int)")
    assert await value(urls.app, "SELECT tableowner FROM pg_tables WHERE tablename = 'owned'") == "taskforce_owner"


async def test_vectors_are_there_for_everybody(urls: PostgresUrls) -> None:
    assert await value(urls.app, "SELECT '[1,2]'::vector <-> '[1,3]'::vector") == 1.0


async def test_sqlalchemy_reaches_it_by_the_normalised_url(urls: PostgresUrls) -> None:
    engine = create_async_engine(normalise_database_url(urls.app))
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT current_database()"))).scalar_one() == "taskforce"
    await engine.dispose()


async def test_data_is_safe_unless_told_otherwise(urls: PostgresUrls, home: Path) -> None:
    assert await value(urls.admin, "SHOW fsync") == "off"
    durable = EmbeddedPostgres(home / "postgres")
    try:
        assert await value(durable.start().admin, "SHOW fsync") == "on"
    finally:
        durable.stop()


async def test_each_test_process_can_have_a_database_of_its_own(server: EmbeddedPostgres) -> None:
    one, two = server.create_database("process_1"), server.create_database("process_2")
    await value(one.owner, "CREATE TABLE mine (id int)")
    assert await value(two.owner, "SELECT to_regclass('mine')") is None
    copy = server.create_database("process_3", template="process_1")
    assert await value(copy.owner, "SELECT to_regclass('mine')::text") == "mine"
    server.drop_database("process_1")
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await value(one.owner, "SELECT 1")


def test_a_name_is_never_sql(server: EmbeddedPostgres) -> None:
    with pytest.raises(Invalid):
        server.create_database("x; DROP DATABASE taskforce")


# Who gets in


async def test_nobody_gets_in_without_a_password(urls: PostgresUrls) -> None:
    for url in (urls.app, urls.owner, urls.admin):
        user, _, place = url.partition("@")
        assert await value(url, "SELECT 1") == 1
        with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
            await value(f"{user.rpartition(':')[0]}@{place}", "SELECT 1")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts processes of other users")
class TestProcessesOfNobody:
    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            user="nobody",
            group="nogroup",
            cwd="/",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def test_do_not_become_the_superuser(self, server: EmbeddedPostgres, urls: PostgresUrls) -> None:
        socket_dir = urls.admin.partition("host=")[2]
        psql = [str(programs() / "psql"), "-w", "-h", socket_dir, "-U", "postgres", "-c", "SELECT 1"]
        refused = self.run(*psql, PGPASSFILE=str(server.data_dir.with_name("postgres-passwords")))
        assert refused.returncode == 2, refused

    @pytest.mark.parametrize("name", ["postgres", "postgres/pg_hba.conf", "postgres/server.log", "postgres-passwords"])
    def test_do_not_read_its_data_or_passwords(self, server: EmbeddedPostgres, name: str) -> None:
        assert (server.data_dir.parent / name).exists()
        assert self.run("test", "-r", str(server.data_dir.parent / name)).returncode == 1

    def test_do_not_signal_it(self, server: EmbeddedPostgres) -> None:
        assert "not permitted" in self.run("sh", "-c", f"kill -HUP {server.pid()}").stderr


def test_passwords_are_in_one_private_file_and_nowhere_else(server: EmbeddedPostgres, urls: PostgresUrls) -> None:
    kept = server.data_dir.with_name("postgres-passwords")
    words = [line.rpartition(":")[2] for line in kept.read_text().splitlines()]
    assert len(set(words)) == 3
    assert (stat.S_IMODE(kept.stat().st_mode), kept.stat().st_uid) == (0o600, os.geteuid())
    process = Path(f"/proc/{server.pid()}")
    places = [
        process / "cmdline",
        process / "environ",
        *(path for path in server.data_dir.rglob("*") if path.is_file()),
    ]
    for place in places:
        told = place.read_bytes()
        assert not any(word.encode() in told for word in words), place
    assert not any(word in repr(urls) for word in words)


def of_an_older_release(server: EmbeddedPostgres) -> None:
    """Makes the data what an older release left: everybody is believed, and for root it belongs to `nobody`."""
    (server.data_dir / "pg_hba.conf").write_text("local all all trust\n")
    server.data_dir.with_name("postgres-passwords").unlink()
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (server.data_dir, *server.data_dir.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)


def run_as_before(server: EmbeddedPostgres) -> None:
    nobody = pwd.getpwnam("nobody")
    account = Account(nobody.pw_uid, nobody.pw_gid, borrowed=os.geteuid() == 0)
    options = f"-c listen_addresses= -c unix_socket_directories={server.data_dir}"
    command = [str(programs() / "pg_ctl"), "-w", "-D", str(server.data_dir), "-o", options, "-l", "/dev/null", "start"]
    subprocess.run(command, cwd="/", check=True, stdout=subprocess.DEVNULL, env={}, **account.run_as())


@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
async def test_data_of_an_older_release_is_kept_and_locked(home: Path, running: bool) -> None:
    server = EmbeddedPostgres(home / "postgres", durable=False)
    try:
        await value(server.start().owner, "CREATE TABLE kept AS SELECT 7 AS id")
        server.stop()
        of_an_older_release(server)
        if running:
            run_as_before(server)
            assert await value(server.urls().admin, "SELECT 1") == 1
        urls = server.start()
        assert await value(urls.owner, "SELECT id FROM kept") == 7
        await test_nobody_gets_in_without_a_password(urls)
        assert (server.data_dir / "base").stat().st_uid == server.data_dir.stat().st_uid
        assert server.data_dir.stat().st_uid != pwd.getpwnam("nobody").pw_uid
    finally:
        server.stop()


async def test_lost_passwords_are_made_anew(home: Path) -> None:
    server = EmbeddedPostgres(home / "postgres", durable=False)
    try:
        before = server.start()
        server.data_dir.with_name("postgres-passwords").unlink()
        after = server.start()
        assert after != before
        assert await value(after.app, "SELECT 1") == 1
        with pytest.raises(asyncpg.InvalidPasswordError):
            await value(before.app, "SELECT 1")
    finally:
        server.stop()


async def test_passwords_outlive_the_data(home: Path) -> None:
    server = EmbeddedPostgres(home / "postgres", durable=False)
    try:
        server.start()
        server.stop()
        shutil.rmtree(server.data_dir)
        assert await value(server.start().app, "SELECT 1") == 1
    finally:
        server.stop()


# Whose server it is


def test_a_second_start_adopts_the_running_server(server: EmbeddedPostgres) -> None:
    pid = server.pid()
    assert EmbeddedPostgres(server.data_dir).start() == server.urls()
    assert server.pid() == pid


def start_and_exit_hard(data: Path) -> int:
    script = f"""
import os
from pathlib import Path
from cli.stack.postgres import EmbeddedPostgres
EmbeddedPostgres(Path({str(data)!r}), durable=False).start()
os._exit(9)
"""
    return subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=False).returncode


async def test_it_outlives_a_starter_that_exits_hard_and_is_adopted(home: Path) -> None:
    data = home / "postgres"
    assert start_and_exit_hard(data) == 9
    server = EmbeddedPostgres(data)
    pid = server.pid()
    try:
        assert await value(server.start().app, "SELECT 1") == 1
        assert server.pid() == pid
    finally:
        server.stop()


async def test_it_recovers_when_it_was_killed_itself(home: Path) -> None:
    server = EmbeddedPostgres(home / "postgres")
    try:
        await value(server.start().owner, "CREATE TABLE kept AS SELECT 7 AS id")
        pid = server.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: not server.is_running(), 60)
        assert await value(server.start().owner, "SELECT id FROM kept") == 7
    finally:
        server.stop()


async def test_a_pid_file_that_names_a_stranger_is_stale(home: Path) -> None:
    server = EmbeddedPostgres(home / "postgres", durable=False)
    server.start()
    server.stop()
    (server.data_dir / "postmaster.pid").write_text(f"{os.getpid()}\n")
    assert not server.is_running()
    try:
        assert await value(server.start().app, "SELECT 1") == 1
    finally:
        server.stop()
    assert ProcessId.of(os.getpid()) is not None


def private(directory: Path) -> bool:
    return directory.stat().st_mode & 0o077 == 0


async def test_a_deep_directory_gets_a_short_and_private_socket(home: Path) -> None:
    server = EmbeddedPostgres(home / ("deep" * 30) / "postgres", durable=False)
    try:
        urls = server.start()
        socket_dir = Path(urls.app.partition("host=")[2])
        assert await value(urls.app, "SELECT 1") == 1
        assert socket_dir != server.data_dir
        assert private(socket_dir)
    finally:
        server.stop()
    assert socket_dir.name not in os.listdir(socket_dir.parent)  # noqa: PTH208  one look is enough


def test_stopping_what_does_not_run_is_no_error(home: Path) -> None:
    EmbeddedPostgres(home / "postgres").stop()


def test_foreign_data_is_left_alone(home: Path) -> None:
    (home / "photos").mkdir()
    (home / "photos" / "cat.jpg").touch()
    with pytest.raises(Conflict) as refused:
        EmbeddedPostgres(home / "photos").start()
    assert refused.value.code == "postgres_directory"


def test_data_of_another_version_is_refused(home: Path) -> None:
    (home / "postgres").mkdir()
    (home / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(Conflict) as refused:
        EmbeddedPostgres(home / "postgres").start()
    assert refused.value.code == "postgres_version"


def test_programs_at_a_path_that_a_shell_would_change_run_from_a_copy(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = programs().parents[1]
    odd = home / "a $x `id`" / real.name
    odd.parent.mkdir()
    odd.symlink_to(real)
    if (libraries := real.with_name(f"{real.name}.libs")).is_dir():
        odd.with_name(libraries.name).symlink_to(libraries)
    monkeypatch.setenv("TASKFORCE_CACHE", str(home / "cache"))
    monkeypatch.setattr(
        "cli.stack.postgres_programs.importlib.util.find_spec",
        lambda _: SimpleNamespace(submodule_search_locations=[str(odd)]),
    )
    assert programs().is_relative_to(home / "cache")
    assert programs() == programs()
    server = EmbeddedPostgres(home / "b $x `id`" / "postgres", durable=False)
    try:
        assert server.start().app
    finally:
        server.stop()
