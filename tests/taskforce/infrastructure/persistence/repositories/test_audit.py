"""The audit log: what it keeps of an event."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskforce.core.domain.audit import chain
from taskforce.core.domain.audit.chain import MAX_EVENT_BYTES
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.infrastructure.persistence.database import Database
from taskforce.infrastructure.persistence.repositories.audit import MAX_DETAILS_BYTES, MAX_DETAILS_DEPTH, MAX_TEXT
from tests.taskforce.infrastructure.persistence.audit_factories import (
    append,
    event,
    newest,
    seal,
    sealed_chain,
    verified,
)
from tests.taskforce.infrastructure.persistence.factories import NASTY, NOW, SECOND, STORED

# Events


async def test_an_event_comes_back_as_appended(database: Database, tenant: str) -> None:
    told = event(on_behalf_of="bob", channel="worker", reason="because", details={"after": {"größe": [1, None, 2.5]}})
    await append(database, tenant, told)
    (found,) = await newest(database, tenant)
    names = set(AuditEvent.__slots__) - {"content"}
    assert {name: getattr(found, name) for name in names} == {name: getattr(told, name) for name in names}


async def test_texts_that_cannot_be_stored_are_mended_and_found(database: Database, tenant: str) -> None:
    await append(database, tenant, event(actor_id=NASTY, reason=NASTY, details={NASTY: NASTY}))
    (found,) = await newest(database, tenant, actor_id=NASTY)
    assert (found.actor_id, found.reason, found.details) == (STORED, STORED, {STORED: STORED})


async def test_texts_without_end_are_cut(database: Database, tenant: str) -> None:
    await append(database, tenant, event(resource_id="x" * 1_000_000))
    (found,) = await newest(database, tenant, resource_id="x" * 1_000_000)
    assert found.resource_id == "x" * (MAX_TEXT - 1) + "…"


@pytest.mark.parametrize(
    ("which", "count"),
    [
        ({}, 3),
        ({"actor_id": "bob"}, 1),
        ({"action": "role.create"}, 2),
        ({"resource_type": "role", "resource_id": "custom:y"}, 1),
        ({"outcome": "denied"}, 1),
        ({"since": NOW + SECOND}, 2),
        ({"until": NOW + SECOND}, 1),
        ({"since": NOW + SECOND, "until": NOW + 2 * SECOND, "actor_id": "alice"}, 0),
    ],
)
async def test_the_page_holds_what_fits_the_filter(
    database: Database, tenant: str, which: Mapping[str, Any], count: int
) -> None:
    second = event(actor_id="bob", outcome="denied", at=NOW + SECOND)
    third = event(action="role.delete", resource_id="custom:y", at=NOW + 2 * SECOND)
    await append(database, tenant, event(), second, third)
    await append(database, f"{tenant}-other", event())
    assert len(await newest(database, tenant, **which)) == count


# What would be too much for the chain


def nested(levels: int) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = {"x": value}
    return value


async def test_details_up_to_the_limit_are_kept(database: Database, tenant: str) -> None:
    largest = {"text": "ü" * ((MAX_DETAILS_BYTES - len('{"text":""}')) // 2)}
    await append(database, tenant, event(details=largest), event(details=nested(MAX_DETAILS_DEPTH)))
    assert {json.dumps(one.details) for one in await newest(database, tenant)} == {
        json.dumps(largest),
        json.dumps(nested(MAX_DETAILS_DEPTH)),
    }


async def test_larger_details_are_cut_and_say_how_much_there_was(database: Database, tenant: str) -> None:
    small = {"client": "10.0.0.1", "count": 3, "flag": True, "nothing": None}
    told = {"before": ["x"] * MAX_DETAILS_BYTES, "text": "y" * 300, **small}
    await append(database, tenant, event(details=told))
    (found,) = await newest(database, tenant)
    content = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
    assert found.details == {
        **small,
        "cut": True,
        "size": len(content),
        "hash": hashlib.sha256(content).hexdigest(),
    }


async def test_deeper_details_are_cut(database: Database, tenant: str) -> None:
    await append(database, tenant, event(details={"code": "x", **nested(MAX_DETAILS_DEPTH + 1)}))
    (found,) = await newest(database, tenant)
    assert (found.details["cut"], found.details["code"], "x" in found.details) == (True, "x", False)
    content = json.dumps({"code": "x", **nested(MAX_DETAILS_DEPTH + 1)}, separators=(",", ":")).encode()
    assert (found.details["size"], found.details["hash"]) == (len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), object(), 10**5_000, nested(100_000)],
    ids=["nan", "inf", "object", "", "deep"],
)
async def test_what_is_no_json_never_keeps_the_log_from_going_on(database: Database, tenant: str, value: Any) -> None:
    await append(database, tenant, event(details={"code": "x", "value": value}))
    (found,) = await newest(database, tenant)
    assert found.details == {"code": "x", "cut": True, "size": None, "hash": None}


async def test_a_name_in_the_details_cannot_pass_for_a_cut(database: Database, tenant: str) -> None:
    await append(database, tenant, event(details={"cut": False, "size": 1, "hash": "", "x": "y" * 100_000}))
    (found,) = await newest(database, tenant)
    assert found.details["cut"] is True
    assert found.details["size"] == 100_000 + len('{"cut":false,"hash":"","size":1,"x":""}')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(details=st.dictionaries(st.text(), JSON, max_size=5), text=st.text())
async def test_whatever_an_event_says_it_can_be_sealed_and_verified(
    database: Database, tenant: str, details: dict[str, Any], text: str
) -> None:
    await append(database, tenant, event(details=details, reason=text, resource_id=text))
    await seal(database, tenant)
    assert (await verified(database, tenant)).start.seq == 0


async def test_numbers_that_grow_in_the_database_stay_below_the_chains_limit(database: Database, tenant: str) -> None:
    # PostgreSQL writes 1e+308 with all its digits, and is read back so.
    await append(database, tenant, event(details={"numbers": [1e308] * 9_000}))
    assert (await seal(database, tenant)).seq == 1
    _, (one,), _ = await sealed_chain(database, tenant)
    assert 2_000_000 < len(chain.canonical(one.event)) < MAX_EVENT_BYTES
