"""One Ray for all integration tests, and small real weights."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import ray

from sdflow.model.checkpoint import encode_safetensors
from sdflow.model.config import SMALL
from tests.model.seeded import seeded_model


@pytest.fixture(scope="session")
def ray_session() -> Iterator[str]:
    """A Ray of this machine alone; workers know the credentials of the test's S3 server."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "testkey")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testsecret")
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        environment.setenv("AWS_CONFIG_FILE", os.devnull)
        environment.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(
            address="local",
            num_cpus=4,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            object_store_memory=300_000_000,
        )
        yield str(ray.get_runtime_context().gcs_address)
        ray.shutdown()


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The small network with seeded tensors: every layer is real, only untrained."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    path.write_bytes(encode_safetensors(seeded_model(SMALL)))
    return str(path)
