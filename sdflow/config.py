"""One definition of every setting: flag > SDFLOW_* environment > job file > default."""

from __future__ import annotations

import difflib
import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from sdflow.errors import UsageError

ENV_PREFIX = "SDFLOW_"

# Kubernetes gives these to every container for a service whose name begins with sdflow.
_KUBERNETES_SERVICE = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_.*)?)$")


def _as_globs(value: object) -> object:
    """Take one glob as it is; several come as a list, in the environment as a JSON list."""
    if not isinstance(value, str):
        return value
    try:
        decoded = json.loads(value)
    except ValueError:
        return (value,)
    return decoded if isinstance(decoded, list) else (value,)


Globs = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_as_globs)]


class JobSettings(BaseSettings):
    """Everything a job can be told. Every field is a flag, a variable and a key of the job file."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, extra="forbid", frozen=True, env_ignore_empty=True
    )

    src: str = Field(description="where the photos are: s3://bucket/prefix/, a folder, file://…")
    dst: str = Field(description="where results go: s3://bucket/prefix/, a folder, file://…")
    config: str | None = Field(None, description="job file (YAML) with any of these settings")
    weights: str = Field(
        "default",
        description="folder with the four official .pth, one .safetensors (path or s3://), "
        "or 'bicubic' for plain interpolation",
    )
    tau: float = Field(0.8, ge=0, le=1, description="sampling temperature, 0 to 1")
    seed: int = Field(0, description="seed of the job")
    samples: int = Field(1, ge=1, le=1000, description="outputs drawn per image")
    workers: int = Field(1, ge=1, description="number of worker actors")
    gpus_per_worker: float | None = Field(
        None,
        ge=0,
        description="GPUs of one worker, may be a fraction; default 1 where there is one",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto = bf16 where device and calibrated weights allow it, else fp32"
    )
    tile: int | None = Field(None, ge=1, description="side of a tile in LR pixels; default auto")
    halo: int | None = Field(
        None, ge=0, description="LR pixels around a tile; default what the weights need"
    )
    format: Literal["keep", "png", "jpeg", "webp", "tiff"] = Field(
        "keep", description="format of the results"
    )
    quality: int = Field(95, ge=1, le=100, description="quality of JPEG and WebP results")
    include: Globs = Field((), description="only keys that match this glob; repeatable")
    exclude: Globs = Field((), description="no keys that match this glob; repeatable, wins")
    max_pixels: int = Field(
        64_000_000, ge=1, description="sources with more pixels become dead letters"
    )
    max_failure_rate: float = Field(
        0, ge=0, le=1, description="share of images that may fail without exit status 3"
    )
    redo: bool = Field(False, description="accept changed settings and redo what they change")
    endpoint_url: str | None = Field(None, description="S3 endpoint")
    profile: str | None = Field(None, description="AWS profile")
    region: str | None = Field(None, description="S3 region")
    no_sign_request: bool = Field(False, description="public buckets: send no credentials")
    address: str = Field("local", description="Ray cluster: local starts one here, auto, ray://…")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="log lines; auto = console on a terminal, else json"
    )

    @field_validator("endpoint_url")
    @classmethod
    def _without_credentials(cls, value: str | None) -> str | None:
        if value is not None and "@" in value.partition("://")[2].partition("/")[0]:
            raise ValueError("put credentials into the environment or a profile, not into the URL")
        return value


def load_settings(flags: dict[str, Any]) -> JobSettings:
    """Gather a job's settings from flags, environment and job file.

    Args:
        flags: Values given on the command line, by field name; absent where not given.

    Raises:
        UsageError: Naming the flag, variable or key that is wrong.
    """
    _refuse_unknown_variables()
    job_file = flags.get("config") or os.environ.get(f"{ENV_PREFIX}CONFIG")
    values = _read_job_file(job_file) if job_file else {}

    class Sourced(JobSettings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del dotenv_settings, file_secret_settings
            return init_settings, env_settings, InitSettingsSource(settings_cls, values)

    try:
        return Sourced(**flags)
    except ValidationError as error:
        raise UsageError("; ".join(_explain(item, flags) for item in error.errors())) from error


def _read_job_file(path: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror}", item="--config") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = " ".join(str(error).split())
        raise UsageError(f"--config {path}: not valid YAML: {place}", item="--config") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UsageError(f"--config {path}: expected 'setting: value' lines", item="--config")
    return values


def flag_name(field: str) -> str:
    """The command-line spelling of a field: SRC for positions, else ``--kebab-case``."""
    return field.upper() if field in ("src", "dst") else "--" + field.replace("_", "-")


def _explain(item: Any, flags: dict[str, Any]) -> str:  # noqa: ANN401  # pydantic's ErrorDetails
    name = str(item["loc"][0]) if item["loc"] else "settings"
    if item["type"] == "extra_forbidden":
        return f"{name!r} in the job file is not a setting{_suggestion(name)}"
    if item["type"] == "missing":
        return f"{flag_name(name)} is missing"
    if name in flags:
        where = flag_name(name)
    elif f"{ENV_PREFIX}{name.upper()}" in os.environ:
        where = f"{ENV_PREFIX}{name.upper()}"
    else:
        where = f"{name} in the job file"
    return f"{where}: {item['msg'].removeprefix('Value error, ')}, got {item['input']!r}"


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), JobSettings.model_fields, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _refuse_unknown_variables() -> None:
    """Refuse variables that are no setting, but for those of a Kubernetes service's name."""
    for variable in os.environ:
        name = variable.removeprefix(ENV_PREFIX).lower()
        if not variable.startswith(ENV_PREFIX) or name in JobSettings.model_fields:
            continue
        if not _KUBERNETES_SERVICE.search(variable):
            raise UsageError(
                f"{variable} in the environment is not a setting{_suggestion(name)}", item=variable
            )
