"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.servers.fixtures"]

settings.register_profile(
    "sdflow",
    deadline=None,  # machines are noisy: time is never a verdict
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)
settings.load_profile("sdflow")


@pytest.fixture(autouse=True)
def _fresh_logs() -> Iterator[None]:
    """A command that a test ran has sent the logs to a stream that is closed by now."""
    yield
    structlog.reset_defaults()
