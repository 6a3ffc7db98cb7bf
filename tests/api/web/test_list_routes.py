"""No list gets a filter without a plan for it."""

from api.app import create_app
from tests.fixtures.lists import BOUNDED, LISTS

PAGING = {"limit", "cursor"}


def test_every_list_with_every_filter_is_among_those_whose_plans_are_looked_at() -> None:
    paths = create_app(None).openapi()["paths"]
    offered = {
        path: {one["name"] for one in operations["get"].get("parameters", ()) if one["in"] == "query"}
        for path, operations in paths.items()
        if "get" in operations
    }
    lists = {path: names - PAGING for path, names in offered.items() if "cursor" in names}
    planned = {path: set(one.filters) for path, one in LISTS.items()}
    assert lists == planned | {path: set(filters) for path, (filters, _) in BOUNDED.items()}
