"""Bodies with many unknown fields: an error is made of the first, not of each."""

import json
from collections.abc import Iterator

import pytest
from pydantic import TypeAdapter, ValidationError

from api.schemas import (
    agents,
    api_keys,
    approval_delegations,
    approval_requests,
    policies,
    roles,
    runs,
    tenants,
    users,
    webhooks,
)
from api.schemas.policies import DryRunIn
from api.schemas.request_body import MOST_UNKNOWN, RequestBody
from api.web.json_body import MAX_VALUES
from tests.api.gateway import ClientFor, assert_problem

SCHEMAS = (
    api_keys,
    approval_delegations,
    approval_requests,
    agents,
    policies,
    roles,
    runs,
    tenants,
    users,
    webhooks,
)
REQUIRED = 5
MANY = {f"unknown_{number}": 1 for number in range(MAX_VALUES - 100)}


def bodies() -> Iterator[type[RequestBody]]:
    for module in SCHEMAS:
        for name, found in vars(module).items():
            if name.endswith("In") and isinstance(found, type):
                assert issubclass(found, RequestBody), name
                yield found


def errors(body: type[RequestBody], value: object) -> int:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(body).validate_python(value)
    return refused.value.error_count()


@pytest.mark.parametrize("body", [*bodies()])
def test_the_first_unknown_fields_are_refused(body: type[RequestBody]) -> None:
    assert MOST_UNKNOWN <= errors(body, MANY) <= MOST_UNKNOWN + REQUIRED
    assert 1 <= errors(body, {"unknown": 1}) <= 1 + REQUIRED


def test_so_are_those_of_parts() -> None:
    assert errors(DryRunIn, {"document": {}, "cases": [MANY]}) <= MOST_UNKNOWN + REQUIRED


async def test_the_answer_names_them(client_for: ClientFor, tenant: str) -> None:
    client = client_for(tenant, "ada", ["admin"])
    answer = await client.post(
        "/api/v1/agents/execute", content=json.dumps(MANY), headers={"content-type": "application/json"}
    )
    refused = assert_problem(answer, 422, "request_invalid")["errors"]
    assert refused[0]["field"] in ("body.mission", "body.unknown_0")
    assert len(refused) == MOST_UNKNOWN
