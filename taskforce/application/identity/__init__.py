"""Identity for people who embed the library (guide 3)."""

from taskforce.application.identity.in_memory import RoleManager, StateManager, UserManager, require_permission

__all__ = ["RoleManager", "StateManager", "UserManager", "require_permission"]
