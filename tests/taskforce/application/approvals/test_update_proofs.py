"""An update counts as the gateway's once, and only with a proof that was made for exactly this update."""

from dataclasses import replace
from datetime import timedelta

import pytest

from taskforce.application.approvals.update_proofs import ReceivedUpdate, UpdateVerification
from taskforce.core.domain.approvals.approval import Channel
from taskforce.core.domain.approvals.update_proofs import LONGEST_WAIT, ProofKey
from taskforce.core.domain.errors import Conflict
from taskforce.core.domain.ids import new_id
from tests.taskforce.application.scenario import Stage

KEY = ProofKey(bytes(32))
SAID = {"approver_id": "bob", "verdict": "approve"}


def verification(stage: Stage) -> UpdateVerification:
    return UpdateVerification(stage.database, KEY, stage.clock)


async def received(stage: Stage) -> ReceivedUpdate:
    """An update of the gateway about a request for a payment."""
    request_id = new_id()
    await stage.decisions.open_call(stage.ref(await stage.asked(("pay", {"amount": 3}))), request_id)
    return ReceivedUpdate(stage.tenant_id, request_id, SAID, KEY.prove(SAID, stage.now), arrival="first")


async def test_an_update_without_a_proof_is_of_the_signal_channel(stage: Stage) -> None:
    update = replace(await received(stage), proof=None)
    assert verification(stage).channel(update) is Channel.SIGNAL
    assert await verification(stage).accept(update) is Channel.SIGNAL


async def test_a_retry_of_the_same_arrival_is_accepted_again(stage: Stage) -> None:
    update = await received(stage)
    assert [await verification(stage).accept(update) for _ in range(2)] == [Channel.API] * 2


async def test_a_proof_that_is_sent_a_second_time_is_refused(stage: Stage) -> None:
    update = await received(stage)
    await verification(stage).accept(update)
    with pytest.raises(Conflict) as refused:
        await verification(stage).accept(replace(update, arrival="second"))
    assert refused.value.code == "proof_used"


async def test_a_proof_of_another_content_is_refused_and_stays_unused(stage: Stage) -> None:
    update = await received(stage)
    forged = replace(update, said={**SAID, "approver_id": "mallory"})
    assert verification(stage).channel(forged) is Channel.SIGNAL
    with pytest.raises(Conflict) as refused:
        await verification(stage).accept(forged)
    assert refused.value.code == "proof_invalid"
    assert await verification(stage).accept(replace(update, arrival="later")) is Channel.API


async def test_an_old_proof_still_names_its_channel_and_counts_no_longer(stage: Stage) -> None:
    update = await received(stage)
    stage.now += LONGEST_WAIT + timedelta(seconds=1)
    assert verification(stage).channel(update) is Channel.API
    with pytest.raises(Conflict) as refused:
        await verification(stage).accept(update)
    assert refused.value.code == "proof_expired"
