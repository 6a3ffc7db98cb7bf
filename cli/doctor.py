"""`taskforce doctor`: what is missing on this machine, and how to get it."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy import NullPool
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from cli.stack.binaries import find_temporal, find_test_server
from cli.stack.home import StackHome, StackState
from cli.stack.ports import holder, is_free
from cli.stack.postgres import EmbeddedPostgres
from cli.stack.postgres_programs import major_version
from taskforce.core.domain.errors import DomainError
from taskforce.infrastructure.config.settings import Settings, normalise_database_url

_GIGABYTE = 1_000_000_000
_DISK_NEEDED = 2 * _GIGABYTE
_PYTHON_NEEDED = (3, 11)
_MODEL_KEYS = (
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "AZURE_API_KEY",
    "AZURE_OPENAI_API_KEY",
    "GEMINI_API_KEY",
    "MISTRAL_API_KEY",
)


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes:
        name: What it is.
        ok: Whether it is as it should be.
        required: Whether `taskforce up` fails without it.
        found: What is there.
        advice: How to get it; empty when it is ok.
    """

    name: str
    ok: bool
    required: bool
    found: str
    advice: str = ""


def doctor(*, as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Says what is missing here and how to get it; exit code 1 if something that is needed is."""
    checks = examine()
    healthy = all(check.ok for check in checks if check.required)
    if as_json:
        sys.stdout.write(json.dumps({"ok": healthy, "checks": [asdict(check) for check in checks]}, indent=2) + "\n")
    else:
        Console().print(_table(checks))
    raise typer.Exit(0 if healthy else 1)


def examine() -> list[Check]:
    """Looks at everything that `taskforce up` needs here."""
    try:
        settings = Settings.from_env()
    except DomainError as error:
        return [_python(), Check("settings", ok=False, required=True, found=error.message, advice="Correct them.")]
    state = StackHome(settings.home).read()
    running = state if state and state.running() else None
    return [_python(), *_places(settings), *_servers(settings), *_ports(settings, running), *_rest(settings)]


def _python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    ok = sys.version_info[:2] >= _PYTHON_NEEDED
    return Check("python", ok=ok, required=True, found=version, advice="" if ok else "Install Python 3.11 or newer.")


def _places(settings: Settings) -> Iterable[Check]:
    home = StackHome(settings.home).path
    # The directory itself is made by the first start.
    parent = next(path for path in (home, *home.parents) if path.exists())
    writable = os.access(parent, os.W_OK | os.X_OK)
    advice = "" if writable else "Set TASKFORCE_HOME to a directory that you may write."
    yield Check("home", ok=writable, required=True, found=str(home), advice=advice)
    free = shutil.disk_usage(parent).free
    enough = free >= _DISK_NEEDED
    advice = "" if enough else f"Free {_DISK_NEEDED / _GIGABYTE:.0f} GB."
    yield Check("disk", ok=enough, required=False, found=f"{free / _GIGABYTE:.1f} GB free", advice=advice)


def _servers(settings: Settings) -> Iterable[Check]:
    yield _external_temporal(settings) if settings.temporal_address else _temporal()
    yield _external_postgres(settings) if settings.database_url else _embedded_postgres()
    yield _time_skipping()


def _temporal() -> Check:
    if found := find_temporal():
        return Check("temporal", ok=True, required=True, found=str(found))
    if go := shutil.which("go"):
        return Check("temporal", ok=True, required=True, found=f"not yet; will be downloaded, or built by {go}")
    return Check(
        "temporal",
        ok=False,
        required=True,
        found="no `temporal` on PATH and no Go to build it with",
        advice="Install the Temporal CLI or Go. With an internet connection `taskforce up` downloads it by itself.",
    )


def _external_temporal(settings: Settings) -> Check:
    host, _, port = settings.temporal_target.rpartition(":")
    ok = _connects(host.strip("[]"), int(port))
    advice = "" if ok else "Nobody answers there; correct TEMPORAL_ADDRESS or unset it."
    return Check("temporal", ok=ok, required=True, found=f"TEMPORAL_ADDRESS={settings.temporal_target}", advice=advice)


def _connects(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=3):
            return True
    except OSError:
        return False


def _embedded_postgres() -> Check:
    try:
        version = major_version()
    except (DomainError, OSError, subprocess.CalledProcessError) as error:
        advice = "Set DATABASE_URL to a PostgreSQL with pgvector."
        return Check("postgres", ok=False, required=True, found=str(error), advice=advice)
    return Check("postgres", ok=True, required=True, found=f"embedded, version {version}")


def _external_postgres(settings: Settings) -> Check:
    ok = asyncio.run(_answers(settings.app_url))
    advice = "" if ok else "It does not answer, or refuses this user; correct DATABASE_URL or unset it."
    return Check("postgres", ok=ok, required=True, found="DATABASE_URL is set", advice=advice)


async def _answers(url: str) -> bool:
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with asyncio.timeout(5), engine.connect():
            return True
    except (OSError, SQLAlchemyError):
        return False
    finally:
        await engine.dispose()


def _time_skipping() -> Check:
    if find_test_server():
        return Check("time skipping", ok=True, required=False, found="in the cache")
    tools = [tool for tool in ("java", "mvn") if shutil.which(tool)]
    ok = len(tools) == 2  # noqa: PLR2004  both of them
    advice = "" if ok else "For the few tests that need it: a JDK and Maven, or an internet connection."
    return Check("time skipping", ok=ok, required=False, found=", ".join(tools) or "nothing", advice=advice)


def _ports(settings: Settings, running: StackState | None) -> Iterable[Check]:
    wanted = {"TASKFORCE_PORT": settings.port}
    if not settings.temporal_address:
        wanted |= {"TEMPORAL_PORT": settings.temporal_port}
        wanted |= {"TEMPORAL_UI_PORT": settings.local_ui_port} if settings.local_ui_port else {}
    for variable, port in wanted.items():
        if running and port in running.ports.values():
            yield Check(f"port {port}", ok=True, required=True, found="used by this stack, which is up")
        elif is_free(port):
            yield Check(f"port {port}", ok=True, required=True, found="free")
        else:
            found = f"taken by {holder(port) or 'somebody'}"
            yield Check(f"port {port}", ok=False, required=True, found=found, advice=f"Set {variable} to another.")


def _rest(settings: Settings) -> Iterable[Check]:
    yield _model(settings)
    yield _migrations(settings)


def _model(settings: Settings) -> Check:
    keys = [name for name in _MODEL_KEYS if os.environ.get(name)]
    found = f"TASKFORCE_MODEL={settings.model}" if settings.model else "offline/demo"
    if keys:
        found += f", key in {', '.join(keys)}"
    advice = (
        "" if settings.model else "For a real one: TASKFORCE_MODEL=<LiteLLM name> and its key, e.g. OPENAI_API_KEY."
    )
    return Check("model", ok=bool(settings.model), required=False, found=found, advice=advice)


def _migrations(settings: Settings) -> Check:
    url = _owner_url(settings)
    if url is None:
        found = "MIGRATION_DATABASE_URL is not set" if settings.database_url else "brought to head by `taskforce up`"
        return Check("migrations", ok=True, required=False, found=found)
    from models.migrations.runner import at_head

    try:
        ok = asyncio.run(at_head(url))
    except DomainError as error:
        return Check("migrations", ok=False, required=True, found=error.message, advice="Check the database's URL.")
    advice = "" if ok else "Run `python -m models.migrations upgrade`."
    return Check("migrations", ok=ok, required=True, found="at head" if ok else "not at head", advice=advice)


def _owner_url(settings: Settings) -> str | None:
    if settings.migration_database_url:
        return settings.migration_url
    embedded = EmbeddedPostgres(StackHome(settings.home).postgres)
    # Not started for a look: `taskforce up` migrates it when it starts.
    if settings.database_url or not embedded.is_running():
        return None
    return normalise_database_url(embedded.urls().owner)


def _table(checks: list[Check]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("", "what", "found", "advice"):
        table.add_column(column, overflow="fold")
    for check in checks:
        mark = "[green]✓[/]" if check.ok else "[red]✗[/]" if check.required else "[yellow]·[/]"
        table.add_row(mark, check.name, check.found, check.advice)
    return table
