"""Fixtures shared with the tests of the lobes."""

from tests.lobes.conftest import ragged  # noqa: F401
