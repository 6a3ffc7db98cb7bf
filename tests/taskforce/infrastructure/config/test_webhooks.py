"""The webhooks of a profile, as section 9.2 of the guide writes them."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.webhooks.endpoint import FixedWebhooks, WebhookFormat
from taskforce.infrastructure.config.profiles import load_profile
from taskforce.infrastructure.config.webhooks import fixed_webhooks
from taskforce.infrastructure.net.webhook_urls import DeploymentUrls

GUIDE = """
profile: p
workflow_config:
  webhooks:
    on_request_created:
      url: https://your-app.com/webhooks/approval-created
      secret: ${HOOK_SECRET}
    on_request_approved:
      url: https://your-app.com/webhooks/approval-completed
      secret: ${HOOK_SECRET}
"""
SECRET = "a-long-secret-of-the-deployment-42"


def read(
    directory: Path, text: str, environ: Mapping[str, str] = {"HOOK_SECRET": SECRET}, *, development: bool = False
) -> FixedWebhooks:
    (directory / "p.yaml").write_text(text)
    profile = load_profile("p", directory, environ)
    return fixed_webhooks(profile, DeploymentUrls(development=development), development=development)


def refusal(directory: Path, text: str, environ: Mapping[str, str] = {"HOOK_SECRET": SECRET}) -> str:
    with pytest.raises(Invalid) as refused:
        read(directory, text, environ)
    assert refused.value.code == "profile_invalid"
    assert "p.yaml" in refused.value.message
    return refused.value.message


def test_what_the_guide_writes_is_understood(tmp_path: Path) -> None:
    found = read(tmp_path, GUIDE)
    told = {one.webhook.events: (one.webhook.url, one.secrets.current) for one in found.values()}
    assert told == {
        ("request_created",): ("https://your-app.com/webhooks/approval-created", SECRET),
        ("request_approved",): ("https://your-app.com/webhooks/approval-completed", SECRET),
    }
    assert {one.webhook.format for one in found.values()} == {WebhookFormat.GUIDE}
    assert all(one.webhook.webhook_id == key for key, one in found.items())
    assert SECRET not in repr(found)


def test_every_process_knows_them_by_the_same_ids_wherever_they_lead(tmp_path: Path) -> None:
    moved = GUIDE.replace("your-app.com", "moved.example.com")
    assert set(read(tmp_path, GUIDE)) == set(read(tmp_path, moved))


def test_they_may_stand_with_the_enterprise_features(tmp_path: Path) -> None:
    lines = GUIDE.replace("workflow_config:", "enterprise:\n workflow_config:").splitlines()
    at = lines.index(" workflow_config:")
    nested = "\n".join([*lines[: at + 1], *(f" {line}" for line in lines[at + 1 :])])
    assert set(read(tmp_path, nested)) == set(read(tmp_path, GUIDE))


@pytest.mark.parametrize("text", ["profile: p", "profile: p\nworkflow_config: {}", "profile: p\nworkflow_config:"])
def test_without_the_section_there_are_none(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == {}


def test_a_secret_that_is_not_set_is_named(tmp_path: Path) -> None:
    assert "HOOK_SECRET" in refusal(tmp_path, GUIDE, {})


def test_the_guides_own_short_secret_is_for_development_only(tmp_path: Path) -> None:
    short = {"HOOK_SECRET": "webhook-secret-key"}
    assert "webhook-secret-key" not in refusal(tmp_path, GUIDE, short)
    assert len(read(tmp_path, GUIDE, short, development=True)) == 2


@pytest.mark.parametrize(
    ("written", "instead", "complaint"),
    [
        ("on_request_created", "on_request_closed", "no such event"),
        ("on_request_created", "request_created", "no such event"),
        ("https://your-app.com/webhooks/approval-created", "http://your-app.com/", "https://"),
        ("https://your-app.com/webhooks/approval-created", "https://127.0.0.1/", "not a public"),
        ("      url: https://your-app.com/webhooks/approval-created\n", "", "needs a url"),
        ("  webhooks:\n", "  webhooks: 3\n  others:\n", "valid dictionary"),
        ("secret: ${HOOK_SECRET}\n    on_request_a", "format: other\n      secret: x\n    on_request_a", "format"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, written: str, instead: str, complaint: str) -> None:
    assert written in GUIDE
    assert complaint in refusal(tmp_path, GUIDE.replace(written, instead, 1))


def test_the_standard_format_may_be_had_too(tmp_path: Path) -> None:
    text = GUIDE.replace("secret: ${HOOK_SECRET}", "secret: ${HOOK_SECRET}\n      format: standard", 1)
    environ = {"HOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
    assert {one.webhook.format for one in read(tmp_path, text, environ).values()} == set(WebhookFormat)
    assert "whsec_" in refusal(tmp_path, text)
