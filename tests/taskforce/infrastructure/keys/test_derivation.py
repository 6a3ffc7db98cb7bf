"""One secret of the deployment, one key for each purpose."""

import pytest

from taskforce.core.domain.approvals.update_proofs import ProofKey
from taskforce.core.domain.encryption.keys import KEY_BYTES
from taskforce.core.domain.errors import Invalid, Unavailable
from taskforce.infrastructure.composition import proof_key
from taskforce.infrastructure.config.settings import Settings
from taskforce.infrastructure.keys.derivation import derived_key
from tests.fixtures.missions import now
from tests.fixtures.stack import ENCRYPTION_KEY, PROOF_KEY


def test_two_purposes_never_share_a_key() -> None:
    keys = {derived_key(bytes(range(32)), purpose) for purpose in ("a", "b", "a/1", "")}
    assert len(keys) == 4
    assert {len(key) for key in keys} == {KEY_BYTES}
    assert derived_key(bytes(range(32)), "a") in keys


@pytest.mark.parametrize("master", [b"", bytes(31), bytes(33)])
def test_a_master_key_has_one_length(master: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        derived_key(master, "a")


def test_every_process_with_the_same_secret_vouches_alike() -> None:
    said = {"approver_id": "bob"}
    made = proof_key(Settings(TASKFORCE_ENCRYPTION_KEY=ENCRYPTION_KEY)).prove(said, now())
    assert PROOF_KEY.fits(said, made)


def test_outside_development_nothing_starts_without_it() -> None:
    with pytest.raises(Invalid) as refused:
        proof_key(Settings(TASKFORCE_PROFILE="enterprise"))
    assert refused.value.code == "bad_setting"
    assert refused.value.message.startswith("TASKFORCE_ENCRYPTION_KEY is not set")
    bare = proof_key(Settings(TASKFORCE_PROFILE="dev"))
    assert isinstance(bare, ProofKey)
    with pytest.raises(Unavailable):
        bare.prove({}, now())
