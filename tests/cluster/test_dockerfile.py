"""The image: what gets in, who runs, and what is left out. hadolint, where it is there."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.cluster.manifests import CLUSTER

_ROOT = CLUSTER.parent
_DOCKERFILE = CLUSTER / "Dockerfile"
_HADOLINT = shutil.which("hadolint")


def _instructions() -> list[tuple[str, str]]:
    lines = [line for line in _DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (word.upper(), " ".join(rest.split()))
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())
    ]


def _pins(path: Path) -> dict[str, str]:
    pins = {}
    for line in path.read_text().splitlines():
        name, _, version = line.partition("==")
        if version:
            pins[re.sub(r"\[.*\]|[-_.]", "", name).lower()] = version
    return pins


def test_whoever_runs_is_not_root() -> None:
    names = [word for word, _ in _instructions()]
    users = [rest for word, rest in _instructions() if word == "USER"]
    assert users == ["1000:1000"]  # a number: Kubernetes cannot tell who a name is
    assert set(names[names.index("USER") :]) <= {"USER", "CMD"}
    assert "ENTRYPOINT" not in names


def test_every_argument_is_used() -> None:
    text = _DOCKERFILE.read_text()
    for word, rest in _instructions():
        if word == "ARG":
            name = rest.partition("=")[0]
            assert re.search(rf"\$\{{?{name}\b", text), name


def test_no_compiler_and_nothing_left_of_downloads() -> None:
    for word, rest in _instructions():
        if word != "RUN":
            continue
        assert not re.search(r"\b(gcc|g\+\+|clang|build-essential|cmake|make|nvcc|-dev)\b", rest)
        if "apt-get install" in rest:
            assert "--no-install-recommends" in rest
            assert "rm -rf /var/lib/apt/lists/*" in rest
    variables = [rest for word, rest in _instructions() if word == "ENV"]
    assert any("PIP_NO_CACHE_DIR=1" in rest for rest in variables)


def test_what_is_copied_is_there_and_in_the_context() -> None:
    lines = (_ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source
        for word, rest in _instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert copied == allowed
    assert all((_ROOT / source).exists() for source in copied)
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {package.rstrip("*") for package in packages} <= copied


def test_versions_of_the_image_are_those_that_are_tested() -> None:
    tested, added = _pins(_ROOT / "constraints.txt"), _pins(CLUSTER / "requirements.txt")
    assert added.pop("ray") == tested["ray"]
    assert not added.keys() & tested.keys()
    for name in ("cluster.yaml", "upscale.yaml", "train.yaml", "nightly.yaml"):
        text = (CLUSTER / "kuberay" / name).read_text()
        assert f'rayVersion: "{tested["ray"]}"' in text


@pytest.mark.skipif(_HADOLINT is None, reason="needs hadolint")
def test_hadolint_has_no_complaint() -> None:
    run = subprocess.run(  # noqa: S603
        [str(_HADOLINT), str(_DOCKERFILE)], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, "")
