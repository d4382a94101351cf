"""Fixtures for all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.servers.fixtures"]

settings.register_profile(
    "sdflow",
    deadline=None,  # machines are noisy: time is never a verdict
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)
settings.load_profile("sdflow")
