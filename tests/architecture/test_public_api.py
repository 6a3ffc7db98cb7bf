"""The guide's import paths, which are the public Python API: what people import does not move."""

import importlib

import pytest

PUBLIC = {
    "taskforce.core.interfaces.identity": (
        "TenantContext",
        "UserContext",
        "Permission",
        "Role",
        "SYSTEM_ROLES",
        "PolicyDecision",
        "PolicyEngineProtocol",
    ),
    "taskforce.application.catalog": ("AgentCatalog", "VersionStatus"),
    "taskforce.application.identity": ("RoleManager", "UserManager", "StateManager", "require_permission"),
    "taskforce.application.workflows": ("WorkflowManager", "ApprovalStatus"),
    "taskforce.application.workflows.approval": ("ApprovalWorkflow", "RequestType"),
    "taskforce.application.reporting": ("UsageTracker", "CostCalculator"),
    "taskforce.application.reporting.usage": ("UsageType",),
    "taskforce.application.reporting.cost": ("ModelPricing",),
    "taskforce.infrastructure.auth.api_key_provider": ("APIKeyProvider",),
    "taskforce.infrastructure.auth.jwt_provider": ("JWTIdentityProvider", "JWTConfig", "create_test_jwt"),
}

BESIDES = {
    "taskforce.application.catalog": {"CatalogEntry", "CatalogVersion"},  # what its methods return, for annotations
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in PUBLIC.items() for name in names])
def test_the_guides_name_is_where_the_guide_says(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


PACKAGES = [module for module in PUBLIC if hasattr(importlib.import_module(module), "__path__")]


@pytest.mark.parametrize("module", PACKAGES)
def test_a_package_hands_on_the_guides_names_and_nothing_else(module: str) -> None:
    handed_on = importlib.import_module(module).__all__
    assert set(handed_on) == {*PUBLIC[module], *BESIDES.get(module, ())}
