"""An envelope says which key and which cipher open it, and nothing else passes for one."""

import pytest

from taskforce.core.domain.encryption.envelopes import Algorithm, EnvelopeHeader
from taskforce.core.domain.errors import Invalid


def test_what_is_rendered_is_parsed() -> None:
    for tenant in ("a", "acme-corp", "A.b_c-" * 10 + "1234"):
        for version in (1, 27, 999_999):
            for algorithm in Algorithm:
                header = EnvelopeHeader(tenant, version, algorithm)
                found, rest = EnvelopeHeader.parse(header.render() + b":\x00\xff:v1:")
                assert (found, bytes(rest)) == (header, b":\x00\xff:v1:")


def test_it_reads_as_the_guide_says() -> None:
    header = EnvelopeHeader("acme-corp", 1, Algorithm.FERNET)
    assert (header.key_id, header.render()) == ("tenant:acme-corp:v1", b"tenant:acme-corp:v1:fernet:")


@pytest.mark.parametrize(
    "envelope",
    [
        *(b"", b"x", b"tenant:acme:v1:fernet", b"tenant::v1:fernet:x", b"tenant:acme:v0:fernet:x"),
        *(b"tenant:acme:v01:fernet:x", b"tenant:acme:v1000000:fernet:x", b"tenant:acme:1:fernet:x"),
        *(
            b"tenant:acme:v1:FERNET:x",
            b"tenant:acme:v1:rot13:x",
            b"tenant:ac me:v1:fernet:x",
            b" tenant:acme:v1:fernet:x",
        ),
        *(b"tenant:" + b"a" * 65 + b":v1:fernet:x", "tenant:größe:v1:fernet:x".encode(), b"user:acme:v1:fernet:x"),
        b"tenant:acme\n:v1:fernet:x",
    ],
)
def test_nothing_else_is_an_envelope(envelope: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        EnvelopeHeader.parse(envelope)
    assert refused.value.code == "envelope_invalid"
