"""The audit log over HTTP, and an auditor who finds whatever was done to an export."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from typer.testing import CliRunner

from api.web.ndjson import ANCHOR, MEDIA_TYPE
from cli.exits import Exit
from cli.main import app
from taskforce.application.audit import export
from taskforce.application.audit.export import EXPORT_BATCH
from taskforce.core.domain.audit import chain
from taskforce.core.domain.audit.chain import Anchor
from taskforce.infrastructure.config.settings import REPOSITORY, driver_arguments
from tests.api.audit_logs import PATH, append, listed
from tests.api.gateway import ClientFor, Gateway, assert_problem
from tests.fixtures.stack import DatabaseUrls


@pytest.fixture
def auditor(client_for: ClientFor, tenant: str) -> httpx.AsyncClient:
    return client_for(tenant, "vera", ["auditor"])


# Looking into it


async def test_events_are_listed_newest_first(gateway: Gateway, auditor: httpx.AsyncClient, tenant: str) -> None:
    await append(gateway, tenant, 3)
    items = await listed(auditor)
    assert [item["resource_id"] for item in items] == ["custom:2", "custom:1", "custom:0"]
    assert set(items[0]) == {
        *("audit_id", "actor_id", "on_behalf_of", "channel", "action", "resource_type", "resource_id"),
        *("outcome", "reason", "request_id", "details", "at", "key_id"),
    }
    assert items[0]["details"] == {"after": {"name": "Übergabe 2"}}


async def test_pages_follow_each_other_without_gaps(gateway: Gateway, auditor: httpx.AsyncClient, tenant: str) -> None:
    now = gateway.parts.clock()
    await append(gateway, tenant, 7, at=now)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = (await auditor.get(PATH, params={"limit": 3, **({"cursor": cursor} if cursor else {})})).json()
        seen += [item["audit_id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 7
    assert seen == [item["audit_id"] for item in await listed(auditor)]


async def test_filters_choose(gateway: Gateway, auditor: httpx.AsyncClient, tenant: str) -> None:
    first = await append(gateway, tenant, 3)
    await append(gateway, tenant, outcome="denied", actor_id="bob", action="run.cancel", resource_type="run")
    for query, count in (
        ({"actor_id": "bob"}, 1),
        ({"action": "role.create"}, 3),
        ({"resource_type": "role", "resource_id": "custom:1"}, 1),
        ({"outcome": "denied"}, 1),
        ({"outcome": "denied", "actor_id": "alice"}, 0),
        ({"since": (first + timedelta(seconds=30)).isoformat()}, 0),
        ({"until": (first - timedelta(seconds=30)).isoformat()}, 0),
        ({"actor_id": "\x00'; --"}, 0),
    ):
        assert len(await listed(auditor, **query)) == count, query


@pytest.mark.parametrize(
    "query",
    [
        {"since": "yesterday"},
        {"since": "2026-01-01T00:00:00"},
        {"until": "0001-01-01T00:00:00+14:00"},
        {"actor_id": ""},
        {"actor_id": "x" * 501},
        {"limit": "0"},
        {"limit": "101"},
        {"cursor": "x"},
    ],
)
async def test_a_filter_that_makes_no_sense_is_refused(auditor: httpx.AsyncClient, query: dict[str, str]) -> None:
    answer = await auditor.get(PATH, params=query)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


async def test_nobody_sees_another_tenants_log(
    gateway: Gateway, client_for: ClientFor, auditor: httpx.AsyncClient, tenant: str
) -> None:
    await append(gateway, f"{tenant}-other", 3)
    assert await listed(auditor) == []
    assert (await auditor.get(f"{PATH}/anchor")).json()["seq"] == 0
    theirs = client_for(f"{tenant}-other", "vera", ["auditor"])
    anchor = (await theirs.get(f"{PATH}/export")).headers[ANCHOR]
    made_up = Anchor(tenant, 77, "0" * 64)
    answers = [await auditor.get(f"{PATH}/export", params={"after": str(place)}) for place in (anchor, made_up)]
    bodies = [assert_problem(answer, 409, "anchor_unknown") | {"request_id": ""} for answer in answers]
    assert bodies[0] == bodies[1]


async def test_only_who_may_read_the_log_gets_anything(client_for: ClientFor, tenant: str) -> None:
    operator = client_for(tenant, "olga", ["operator"])
    for path in ("", "/export", "/anchor"):
        problem = assert_problem(await operator.get(PATH + path), 403, "permission_denied")
        assert problem["permission"] == "audit:read"


# Exporting


async def test_an_export_is_json_lines_and_ends_at_the_anchor_of_its_header(
    gateway: Gateway, auditor: httpx.AsyncClient, tenant: str
) -> None:
    await append(gateway, tenant, EXPORT_BATCH + 3)
    answer = await auditor.get(f"{PATH}/export")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(MEDIA_TYPE)
    assert answer.headers["content-disposition"] == (
        f'attachment; filename="audit-{tenant}-1-{EXPORT_BATCH + 4}.jsonl"'
    )
    end = Anchor.parse(answer.headers[ANCHOR])
    found = chain.verify(answer.text.split("\n")[:-1], end, start=Anchor.genesis(tenant))
    assert found.events == EXPORT_BATCH + 4
    anchor = (await auditor.get(f"{PATH}/anchor")).json()
    assert anchor == {
        "tenant_id": tenant,
        "seq": end.seq,
        "hash": end.hash,
        "anchor": str(end),
        "at": anchor["at"],
    }
    assert datetime.fromisoformat(anchor["at"]) == found.last_at


async def test_every_export_is_recorded_and_holds_its_own_record(auditor: httpx.AsyncClient, tenant: str) -> None:
    answer = await auditor.get(f"{PATH}/export", headers={"x-request-id": "req-export"})
    (told,) = await listed(auditor, action="audit.export")
    assert (told["actor_id"], told["resource_id"], told["request_id"]) == ("vera", tenant, "req-export")
    assert told["details"] == {"from": str(Anchor.genesis(tenant))}
    assert told["audit_id"] in answer.text


async def test_an_export_goes_on_after_an_anchor_or_a_number(
    gateway: Gateway, auditor: httpx.AsyncClient, tenant: str
) -> None:
    await append(gateway, tenant, 3)
    first = (await auditor.get(f"{PATH}/export")).headers[ANCHOR]
    for after in (first, "4"):
        answer = await auditor.get(f"{PATH}/export", params={"after": after})
        assert json.loads(answer.text.split("\n")[0])["from"] == first


@pytest.mark.parametrize("after", ["", "x", "acme:1", "-1", "1" * 19, "x" * 201, "\x00"])
async def test_a_place_that_is_none_is_refused_and_nothing_is_exported(auditor: httpx.AsyncClient, after: str) -> None:
    answer = await auditor.get(f"{PATH}/export", params={"after": after})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert await listed(auditor, action="audit.export") == []


# From the gateway to the auditor, with the program


@dataclass(frozen=True)
class Exported:
    """An export as the program wrote it."""

    path: Path
    anchor: str

    def lines(self) -> list[str]:
        return self.path.read_text("utf-8").splitlines(keepends=True)


async def program(*arguments: str) -> tuple[int, str, str]:
    """Runs `taskforce audit` as a script does; returns its exit code and what it wrote."""
    command = [sys.executable, "-m", "cli", "audit", *arguments]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=REPOSITORY, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def door(gateway: Gateway, tenant: str) -> tuple[str, ...]:
    return ("--url", gateway.url, "--token", gateway.token(tenant, "vera", ["auditor"]))


async def exported(gateway: Gateway, tenant: str, path: Path, *options: str) -> Exported:
    code, out, err = await program("export", "--output", str(path), "--json", *door(gateway, tenant), *options)
    assert code == Exit.OK, err
    told = json.loads(out)
    assert told["file"] == str(path)
    return Exported(path, told["anchor"])


def verify(path: Path, anchor: str, *options: str) -> tuple[int, str]:
    """The exit code, and why it is broken if it is."""
    done = CliRunner().invoke(app, ["audit", "verify", str(path), "--anchor", anchor, "--json", *options])
    told = json.loads(done.stdout)
    return done.exit_code, "" if done.exit_code == 0 else told["error"]["reason"]


@pytest.fixture(scope="module")
async def two(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> tuple[Exported, Exported]:
    """The exports of two tenants with alike logs."""
    names, place = [f"tenant-{uuid4().hex[:12]}" for _ in range(2)], tmp_path_factory.mktemp("exports")
    for name in names:
        await append(gateway, name, 5)
    mine, theirs = [await exported(gateway, name, place / f"{name}.jsonl") for name in names]
    return mine, theirs


async def test_the_program_exports_what_it_then_verifies(gateway: Gateway, tenant: str, tmp_path: Path) -> None:
    await append(gateway, tenant, 5)
    whole = await exported(gateway, tenant, tmp_path / "all.jsonl")
    assert {one.name: one.stat().st_mode & 0o777 for one in found_in(tmp_path)} == {
        "all.jsonl": 0o600,
        "all.jsonl.anchor": 0o600,
    }
    assert verify(whole.path, whole.anchor, "--from", "genesis") == (Exit.OK, "")
    rest = await exported(gateway, tenant, tmp_path / "rest.jsonl", "--after", whole.anchor)
    assert verify(rest.path, rest.anchor, "--from", whole.anchor) == (Exit.OK, "")


def found_in(path: Path) -> list[Path]:
    return sorted(path.iterdir())


Lines = Sequence[str]
DEEDS: dict[str, Callable[[Lines, Lines], Lines]] = {
    "change": lambda mine, _: [mine[0], mine[1].replace("alice", "bob"), *mine[2:]],
    "change the time": lambda mine, _: [mine[0], mine[1].replace('"at":"2', '"at":"3'), *mine[2:]],
    "delete": lambda mine, _: [*mine[:2], *mine[3:]],
    "delete the first": lambda mine, _: [mine[0], *mine[2:]],
    "insert": lambda mine, _: [*mine[:3], mine[2], *mine[3:]],
    "reorder": lambda mine, _: [mine[0], mine[2], mine[1], *mine[3:]],
    "splice": lambda mine, theirs: [*mine[:3], theirs[3], *mine[4:]],
    "splice the end": lambda mine, theirs: [*mine[:3], *theirs[3:]],
    "replace all": lambda _, theirs: theirs,
    "cut the tail": lambda mine, _: mine[:-2],
    "cut the tail and close": lambda mine, _: [*mine[:-2], mine[-1]],
    "append": lambda mine, _: [*mine, mine[1]],
}


@pytest.mark.parametrize("deed", DEEDS)
async def test_whatever_is_done_to_an_export_is_found(
    two: tuple[Exported, Exported], tmp_path: Path, deed: str
) -> None:
    mine, theirs = two
    assert verify(mine.path, mine.anchor) == (Exit.OK, "")
    changed = DEEDS[deed](mine.lines(), theirs.lines())
    assert list(changed) != mine.lines()
    path = tmp_path / "changed.jsonl"
    path.write_text("".join(changed), "utf-8")
    code, reason = verify(path, mine.anchor)
    assert (code, bool(reason)) == (Exit.FAILED, True)


async def test_a_whole_log_that_was_made_anew_does_not_lead_to_the_anchor(
    two: tuple[Exported, Exported], tmp_path: Path
) -> None:
    mine, _ = two
    events = [json.loads(line)["event"] for line in mine.lines()[1:-1]]
    events[2]["actor_id"] = "bob"
    begin = Anchor.genesis(Anchor.parse(mine.anchor).tenant_id)
    sealed, end = chain.seal(begin, events)
    path = tmp_path / "anew.jsonl"
    path.write_text("".join(chain.export(begin, sealed, end)), "utf-8")
    assert verify(path, str(end)) == (Exit.OK, "")
    assert verify(path, mine.anchor) == (Exit.FAILED, "wrong_end")


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE audit_events SET actor_id = 'bob' WHERE resource_id = 'custom:2' AND tenant_id = $1", "wrong_hash"),
        ("DELETE FROM audit_chain WHERE seq = 3 AND tenant_id = $1", "wrong_seq"),
    ],
    ids=["changed", "taken out"],
)
async def test_what_the_databases_administrator_changes_is_found_in_an_export(
    gateway: Gateway, tenant: str, tmp_path: Path, postgres: DatabaseUrls, statement: str, reason: str
) -> None:
    await append(gateway, tenant, 5)
    await exported(gateway, tenant, tmp_path / "before.jsonl")
    await _as_administrator(postgres, statement, tenant)
    after = await exported(gateway, tenant, tmp_path / "after.jsonl")
    assert verify(after.path, after.anchor) == (Exit.FAILED, reason)


async def test_a_tail_that_the_databases_administrator_takes_away_is_found_by_the_anchor_that_was_kept(
    gateway: Gateway, tenant: str, tmp_path: Path, postgres: DatabaseUrls
) -> None:
    await append(gateway, tenant, 5)
    kept = await exported(gateway, tenant, tmp_path / "kept.jsonl")
    for table in ("audit_chain", "audit_events"):
        await _as_administrator(postgres, f"DELETE FROM {table} WHERE tenant_id = $1", tenant)
    await append(gateway, tenant, 9)
    anew = await exported(gateway, tenant, tmp_path / "anew.jsonl")
    assert verify(anew.path, anew.anchor) == (Exit.OK, "")
    code, _, err = await program(
        "export", "--output", str(tmp_path / "rest.jsonl"), "--after", kept.anchor, *door(gateway, tenant)
    )
    assert (code, "anchor_unknown" in err) == (Exit.CONFLICT, True)


async def _as_administrator(postgres: DatabaseUrls, statement: str, tenant: str) -> None:
    connection = await asyncpg.connect(**driver_arguments(postgres.admin))
    await connection.execute(statement, tenant)
    await connection.close()


async def test_an_export_that_retention_overtakes_breaks_off_and_leaves_no_file(
    gateway: Gateway, tenant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(gateway, tenant, 3)
    database, pages = gateway.parts.database, export._pages
    long_ago = gateway.parts.clock() - timedelta(days=9)
    await append(gateway, tenant, at=long_ago)

    async def overtaken(*arguments: Any) -> AsyncIterator[Any]:
        async with database.tenant(tenant) as records:
            await records.audit.drop(gateway.parts.clock(), 1)
        async for page in pages(*arguments):
            yield page

    monkeypatch.setattr(export, "_pages", overtaken)
    code, _, err = await program("export", "--output", str(tmp_path / "x.jsonl"), *door(gateway, tenant))
    assert (code, "answer_lost" in err) == (Exit.UNAVAILABLE, True)
    assert found_in(tmp_path) == []
