"""Delegations are made by the person, with all of their rights, whoever calls the use case."""

from dataclasses import replace
from datetime import timedelta

import pytest

from taskforce.application.approvals.delegations import delegate, end_delegation, own_delegation
from taskforce.application.identity.principals import Actor
from taskforce.core.domain.errors import Forbidden, Missing
from tests.taskforce.application.identity.people import actor
from tests.taskforce.application.scenario import Stage


@pytest.fixture
async def ada(stage: Stage) -> Actor:
    await stage.person("ada", "operator")
    await stage.person("bob", "operator")
    return await actor(stage, "ada")


async def put(stage: Stage, delegator: Actor) -> None:
    await delegate(stage.database, delegator, "bob", stage.now, stage.now + timedelta(days=1))


def by_key(person: Actor) -> Actor:
    return replace(person, principal=replace(person.principal, key_id="a-key"))


async def test_a_key_makes_no_delegation(stage: Stage, ada: Actor) -> None:
    with pytest.raises(Forbidden) as refused:
        await put(stage, by_key(ada))
    assert refused.value.code == "key_may_not"
    with pytest.raises(Missing):
        await own_delegation(stage.database, ada)


async def test_a_key_ends_no_delegation(stage: Stage, ada: Actor) -> None:
    await put(stage, ada)
    with pytest.raises(Forbidden) as refused:
        await end_delegation(stage.database, by_key(ada))
    assert refused.value.code == "key_may_not"
    assert (await own_delegation(stage.database, ada)).delegate_id == "bob"


async def test_a_token_that_claims_less_makes_no_delegation(stage: Stage, ada: Actor) -> None:
    narrow = replace(ada, principal=replace(ada.principal, is_narrowed=True))
    with pytest.raises(Forbidden) as refused:
        await put(stage, narrow)
    assert refused.value.code == "claims_narrowed"
