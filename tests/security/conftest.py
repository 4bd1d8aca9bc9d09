"""A home for each test, as the tests of the manager have it."""

from tests.manager.conftest import home, manager

__all__ = ["home", "manager"]
