"""The manifests below cluster/, KubeRay's schemas, and patches of an overlay."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

CLUSTER = Path(__file__).parents[2] / "cluster"
KUBERAY = CLUSTER / "kuberay"
OVERLAY = CLUSTER / "overlays" / "cpu"
_SCHEMAS = Path(__file__).parent / "schemas"
_FILES = {"RayCluster": "rayclusters.v1.schema.json", "RayJob": "rayjobs.v1.schema.json"}


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def document(name: str) -> dict[str, Any]:
    (only,) = documents(KUBERAY / name)
    return only


def cluster_spec(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]
    inner: dict[str, Any] = spec.get("rayClusterSpec", spec)
    return inner


def complaints(manifest: dict[str, Any]) -> list[str]:
    """What KubeRay's schema has against a manifest; unknown fields are errors."""
    schema = json.loads((_SCHEMAS / _FILES[manifest["kind"]]).read_text())
    errors = Draft202012Validator(_closed(schema)).iter_errors(manifest)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]


def _closed(schema: object, name: str = "") -> object:
    """A schema whose objects allow the listed fields alone, metadata excepted."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value, key) for key, value in schema.items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or name == "metadata"
    if isinstance(schema.get("properties"), dict) and "type" in schema and not is_open:
        closed.setdefault("additionalProperties", False)
    return closed


def patched(manifest: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """A manifest after JSON patch operations (RFC 6902): test, add, replace, remove."""
    result = deepcopy(manifest)
    for operation in operations:
        *path, last = (
            part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]
        )
        parent: Any = result
        for part in path:
            parent = parent[_key(parent, part)]
        key = _key(parent, last)
        if operation["op"] == "add" and isinstance(parent, list):
            parent.insert(key, operation["value"])
            continue
        if operation["op"] != "add":
            before = parent[key]
        match operation["op"]:
            case "test":
                assert before == operation["value"], operation["path"]
            case "remove":
                del parent[key]
            case "add" | "replace":
                parent[key] = operation["value"]
            case other:
                raise AssertionError(other)
    return result


def _key(parent: object, part: str) -> Any:  # noqa: ANN401  # of a list or a dictionary
    return int(part) if isinstance(parent, list) else part


def images(value: object) -> list[str]:
    """All images below a value."""
    if isinstance(value, dict):
        own = [value["image"]] if isinstance(value.get("image"), str) else []
        return own + [image for item in value.values() for image in images(item)]
    if isinstance(value, list):
        return [image for item in value for image in images(item)]
    return []
