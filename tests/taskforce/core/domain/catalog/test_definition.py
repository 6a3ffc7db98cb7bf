"""Which definitions can be stored as drafts."""

import pytest

from taskforce.core.domain.catalog.definition import MOST_VALUES, check_definition
from taskforce.core.domain.errors import Invalid


def test_values_are_counted_before_each_is_looked_at() -> None:
    with pytest.raises(Invalid) as refused:
        check_definition({"a": [float("nan")] * MOST_VALUES})
    assert refused.value.code == "definition_too_large"
    with pytest.raises(Invalid) as refused:
        check_definition({"a": [float("nan")]})
    assert refused.value.code == "definition_malformed"
