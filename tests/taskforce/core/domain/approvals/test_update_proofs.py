"""A proof shows that exactly this was said through the gateway, lately."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from models.messages.approvals import ChangeInput, DecisionInput, Update
from taskforce.core.domain.approvals.update_proofs import CLOCK_SKEW, LONGEST_WAIT, ProofKey
from taskforce.core.domain.errors import Conflict, Unavailable

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEY = ProofKey(bytes(32))
SAID = DecisionInput(approver_id="bob", verdict="approve", comment="fine", seen="a" * 64).proven("acme", "r1")


def test_what_was_proven_is_believed_by_who_has_the_key() -> None:
    proof = KEY.prove(SAID, NOW)
    KEY.check(SAID, proof, NOW)
    assert ProofKey(bytes(32)).fits(SAID, proof)
    assert not ProofKey(b"\x01" + bytes(31)).fits(SAID, proof)


def test_no_two_proofs_are_alike() -> None:
    assert KEY.prove(SAID, NOW) != KEY.prove(SAID, NOW)


@pytest.mark.parametrize(
    "other",
    [
        DecisionInput(approver_id="carol", verdict="approve", comment="fine", seen="a" * 64).proven("acme", "r1"),
        DecisionInput(approver_id="bob", verdict="reject", comment="fine", seen="a" * 64).proven("acme", "r1"),
        DecisionInput(approver_id="bob", verdict="approve", comment="no", seen="a" * 64).proven("acme", "r1"),
        DecisionInput(approver_id="bob", verdict="approve", comment="fine", seen="b" * 64).proven("acme", "r1"),
        DecisionInput(approver_id="bob", verdict="approve", comment="fine").proven("acme", "r1"),
        DecisionInput(approver_id="bob", verdict="approve", comment="fine", seen="a" * 64).proven("acme", "r2"),
        DecisionInput(approver_id="bob", verdict="approve", comment="fine", seen="a" * 64).proven("other", "r1"),
        ChangeInput(actor_id="bob", kind="withdraw", comment="fine").proven("acme", "r1"),
    ],
)
def test_it_fits_nothing_else(other: dict[str, object]) -> None:
    with pytest.raises(Conflict) as refused:
        KEY.check(other, KEY.prove(SAID, NOW), NOW)
    assert refused.value.code == "proof_invalid"


@pytest.mark.parametrize("kind", [DecisionInput, ChangeInput])
def test_every_field_of_every_update_is_covered(kind: type[Update]) -> None:
    filled = {
        "approver_id": "bob", "verdict": "approve", "comment": "c", "seen": "s", "edit": "e", "for_run": True,
        "key_id": "k", "actor_id": "bob", "kind": "reassign", "roles": ("r",), "people": ("p",), "http_request": "h",
    }  # fmt: skip
    said = kind.model_validate(filled)
    fields = set(kind.model_fields) - {"proof"}
    assert fields <= set(filled), "say here what the new field may hold"
    proven = said.proven("acme", "r1")["said"]
    assert isinstance(proven, dict)
    assert set(proven) == fields


def test_a_message_means_the_same_whether_what_it_leaves_out_is_written_or_not() -> None:
    short = DecisionInput(approver_id="bob", verdict="approve")
    long = DecisionInput(approver_id="bob", verdict="approve", comment="", seen=None, for_run=False)
    read = DecisionInput.model_validate_json(long.model_dump_json())
    assert short.proven("acme", "r1") == long.proven("acme", "r1") == read.proven("acme", "r1")


def test_no_part_of_it_may_change() -> None:
    proof = KEY.prove(SAID, NOW)
    assert not KEY.fits(SAID, replace(proof, nonce="0" * 32))
    assert not KEY.fits(SAID, replace(proof, code="0" * 64))
    assert not KEY.fits(SAID, replace(proof, made_at=NOW + timedelta(seconds=1)))


@pytest.mark.parametrize(
    ("age", "counts"),
    [
        (timedelta(), True),
        (LONGEST_WAIT, True),
        (LONGEST_WAIT + timedelta(seconds=1), False),
        (-CLOCK_SKEW, True),
        (-CLOCK_SKEW - timedelta(seconds=1), False),
    ],
)
def test_it_may_wait_for_a_worker_and_not_for_ever(age: timedelta, counts: bool) -> None:
    proof = KEY.prove(SAID, NOW - age)
    if counts:
        KEY.check(SAID, proof, NOW)
        return
    with pytest.raises(Conflict) as refused:
        KEY.check(SAID, proof, NOW)
    assert refused.value.code == "proof_expired"


def test_without_a_key_nothing_is_vouched_for() -> None:
    with pytest.raises(Unavailable) as refused:
        ProofKey().prove(SAID, NOW)
    assert refused.value.code == "encryption_key_missing"
    with pytest.raises(Unavailable):
        ProofKey().check(SAID, KEY.prove(SAID, NOW), NOW)
