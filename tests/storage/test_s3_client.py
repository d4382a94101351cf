"""Which endpoint, region and settings a client ends up with; nothing is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from botocore import UNSIGNED

from sdflow.errors import UsageError
from sdflow.storage.location import S3Options
from sdflow.storage.s3 import S3Store
from sdflow.storage.s3.client import connect

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("bare_aws")

ENDPOINTS = {
    "AWS_ENDPOINT_URL_S3": "http://s3-variable:1",
    "AWS_ENDPOINT_URL": "http://variable:1",
    "profile": "http://profile:1",
    "S3_ENDPOINT_URL": "http://alias:1",
}


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An AWS configuration file that is in force; its default section can be written to."""
    path = tmp_path / "config"
    path.write_text("[default]\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    return path


def settings(options: S3Options) -> dict[str, object]:
    """What the client was made with."""
    return vars(connect(options).meta.config)


@pytest.mark.parametrize("first", range(len(ENDPOINTS) + 1))
def test_the_first_endpoint_that_is_given_wins(
    first: int, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = list(ENDPOINTS.items())[first:]
    for name, url in given:
        if name == "profile":
            profile.write_text(f"[default]\nendpoint_url = {url}\n")
        else:
            monkeypatch.setenv(name, url)
    expected = given[0][1] if given else "https://s3.amazonaws.com"
    assert connect(S3Options()).meta.endpoint_url == expected
    option = "http://option:1"
    assert connect(S3Options(endpoint_url=option)).meta.endpoint_url == option


def test_buckets_are_in_the_path_for_other_services_than_aws(profile: Path) -> None:
    custom = S3Options(endpoint_url="http://minio.example:9000")
    assert settings(custom)["s3"] == {"addressing_style": "path"}
    assert settings(S3Options())["s3"] is None
    profile.write_text("[default]\ns3 =\n  addressing_style = virtual\n")
    assert settings(custom)["s3"] == {"addressing_style": "virtual"}


def test_a_region_is_always_known(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert connect(S3Options()).meta.region_name == "us-east-1"
    profile.write_text("[default]\nregion = eu-west-1\n")
    assert connect(S3Options()).meta.region_name == "eu-west-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    assert connect(S3Options()).meta.region_name == "eu-west-2"
    assert connect(S3Options(region="eu-west-3")).meta.region_name == "eu-west-3"


def test_checksums_are_the_users_choice(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(S3Options())
    assert found["request_checksum_calculation"] == "when_required"
    assert found["response_checksum_validation"] == "when_required"
    profile.write_text("[default]\nrequest_checksum_calculation = when_supported\n")
    monkeypatch.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_supported")
    found = settings(S3Options())
    assert found["request_checksum_calculation"] == "when_supported"
    assert found["response_checksum_validation"] == "when_supported"


def test_options_reach_the_client() -> None:
    options = S3Options(
        no_sign_request=True, max_connections=40, max_attempts=2, read_timeout_s=7.0
    )
    found = settings(options)
    assert found["signature_version"] is UNSIGNED
    assert found["max_pool_connections"] == 40
    assert found["retries"] == {"mode": "standard", "total_max_attempts": 2}
    assert (found["connect_timeout"], found["read_timeout"]) == (10, 7.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (S3Options(endpoint_url="localhost:9000"), "Invalid endpoint: localhost:9000"),
        (S3Options(region="no region"), "region_name 'no region'"),
        (S3Options(profile="nobody"), r"\(nobody\) could not be found: check --profile"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(options: S3Options, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        S3Store("b", "", options)


def test_a_damaged_configuration_file_is_named(profile: Path) -> None:
    profile.write_text("[default\n")
    with pytest.raises(UsageError, match=str(profile)):
        S3Store("b", "", S3Options())
