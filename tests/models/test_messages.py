"""What messages do on the wire."""

import pytest
from pydantic import ValidationError

from models.messages.runs import Carried, RunInput, ToolTurn


def test_a_message_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        ToolTurn(tenant_id="acme", run_id="1", step=1, call=1).step = 2  # type: ignore[misc]  # that is the point


def test_an_older_worker_reads_what_a_newer_one_wrote() -> None:
    sent = '{"tenant_id": "acme", "run_id": "1", "carried": {"step": 3, "mood": "new"}, "colour": "newer"}'
    assert RunInput.model_validate_json(sent) == RunInput(tenant_id="acme", run_id="1", carried=Carried(step=3))


def test_a_newer_worker_reads_what_an_older_one_wrote() -> None:
    assert RunInput.model_validate_json('{"tenant_id": "acme", "run_id": "1"}').carried == Carried()
