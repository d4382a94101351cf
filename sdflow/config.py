"""One definition of every setting: flag > SDFLOW_* environment > job file > default."""

from __future__ import annotations

import difflib
import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, SettingsConfigDict

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


class StorageSettings(BaseSettings):
    """How to reach S3 and how to log: what all commands on a store can be told."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, extra="forbid", frozen=True, env_ignore_empty=True
    )

    endpoint_url: str | None = Field(None, description="S3 endpoint")
    profile: str | None = Field(None, description="AWS profile")
    region: str | None = Field(None, description="S3 region")
    no_sign_request: bool = Field(False, description="public buckets: send no credentials")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="log lines; auto = console on a terminal, else json"
    )

    @field_validator("endpoint_url")
    @classmethod
    def _without_credentials(cls, value: str | None) -> str | None:
        if value is not None and "@" in value.partition("://")[2].partition("/")[0]:
            raise ValueError("put credentials into the environment or a profile, not into the URL")
        return value


class TargetSettings(StorageSettings):
    """What a command on the destination of a job can be told."""

    dst: str = Field(
        description="where a job's results are: s3://bucket/prefix/, a folder, file://…"
    )


class JobSettings(StorageSettings):
    """Everything a job can be told. Every field is a flag, a variable and a key of the job file."""

    src: str = Field(description="where the photos are: s3://bucket/prefix/, a folder, file://…")
    dst: str = Field(description="where results go: s3://bucket/prefix/, a folder, file://…")
    config: str | None = Field(None, description="job file (YAML) with any of these settings")
    weights: str = Field(
        "default",
        description="folder with the four official .pth, one .safetensors (path or s3://), "
        "'bicubic' for plain interpolation, or 'copy' to measure everything but the pixels",
    )
    tau: float = Field(0.8, ge=0, le=1, description="sampling temperature, 0 to 1")
    seed: int = Field(0, description="seed of the job")
    samples: int = Field(1, ge=1, le=1000, description="outputs drawn per image")
    workers: str = Field(
        "1", description="worker actors: N, or MIN:MAX to follow the backlog, as the cluster allows"
    )
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
    outscale: float = Field(
        4.0, ge=1, le=8, description="upscale: final scale, 1 to 8, Lanczos from the x4 result"
    )
    format: Literal["keep", "png", "jpeg", "webp", "tiff", "avif"] = Field(
        "keep", description="format of the results"
    )
    quality: int = Field(95, ge=1, le=100, description="quality of JPEG, WebP and AVIF results")
    png_level: int = Field(1, ge=0, le=9, description="compression of PNG results, 0 to 9")
    tiff_pyramid: bool = Field(
        False, description="TIFF results get reduced copies, for viewers of giant images"
    )
    metadata: Literal["keep", "strip"] = Field(
        "keep", description="EXIF, XMP, IPTC and density; strip leaves the colour profile alone"
    )
    first_frame: bool = Field(False, description="take the first frame of animations")
    include: Globs = Field((), description="only keys that match this glob; repeatable")
    exclude: Globs = Field((), description="no keys that match this glob; repeatable, wins")
    max_pixels: int = Field(
        1_000_000_000, ge=1, description="sources with more pixels become dead letters"
    )
    giant_pixels: int = Field(
        512_000_000,
        ge=1,
        description="images whose source or result has more pixels are done in parts, "
        "never whole in memory",
    )
    max_failure_rate: float = Field(
        0, ge=0, le=1, description="share of images that may fail without exit status 3"
    )
    join: bool = Field(
        False, description="share the job with a driver that has it already, on other machines"
    )
    drain_seconds: float = Field(
        25, ge=0, description="what images in progress get after SIGTERM or Ctrl-C"
    )
    list_threads: int = Field(
        1, ge=1, le=64, description="folders of SRC that are listed at the same time"
    )
    redo: bool = Field(False, description="accept changed settings and redo what they change")
    address: str = Field("local", description="Ray cluster: local starts one here, auto, ray://…")

    @field_validator("workers", mode="before")
    @classmethod
    def _as_range(cls, value: object) -> object:
        text = str(value) if isinstance(value, int) else value
        if not isinstance(text, str):
            return value
        numbers = text.split(":")
        if len(numbers) > 2 or not all(number.isdecimal() for number in numbers):
            raise ValueError("expected N or MIN:MAX")
        if int(numbers[-1]) < 1 or int(numbers[0]) > int(numbers[-1]):
            raise ValueError("at least one worker is needed, and MIN may not be above MAX")
        return text

    @property
    def since_s(self) -> float:
        """From when on sources count, in seconds since 1970."""
        return 0.0

    def is_enough(self, begun: int, gpu_hours: float) -> bool:
        """Whether a run that began with so many images leaves the others for the next one."""
        del begun, gpu_hours
        return False

    @property
    def worker_range(self) -> tuple[int, int]:
        """Fewest and most workers."""
        numbers = [int(number) for number in self.workers.split(":")]
        return numbers[0], numbers[-1]


RETRY_FIELDS = (
    "dst",
    "weights",
    "workers",
    "gpus_per_worker",
    "max_pixels",
    "giant_pixels",
    "first_frame",
    "png_level",
    "max_failure_rate",
    "drain_seconds",
    "address",
    *StorageSettings.model_fields,
)
_NOT_OF_A_RETRY = (
    *("config", "redo", "join", "log_format"),
    *("since", "limit", "budget_gpu_hours", "accept_vanished"),  # of one night
)
_Settings = TypeVar("_Settings", bound=StorageSettings)


def load_settings(flags: dict[str, Any]) -> JobSettings:
    """Gather a job's settings, as :func:`load_target_settings`."""
    return load_target_settings(JobSettings, flags)


def load_target_settings(model: type[_Settings], flags: dict[str, Any]) -> _Settings:
    """Gather a command's settings from flags, environment and, where it has one, settings file.

    Args:
        model: What the command can be told.
        flags: Values given on the command line, by field name; absent where not given.

    Raises:
        UsageError: Naming the flag, variable or key that is wrong.
    """
    values: dict[str, Any] = {}
    if "config" in model.model_fields:
        path = flags.get("config") or os.environ.get(f"{ENV_PREFIX}CONFIG")
        values = _read_job_file(path) if path else {}
    return _gathered(model, flags, {**values, **_environment(model)})


def load_retry_settings(
    model: type[JobSettings], flags: dict[str, Any], recorded: dict[str, Any], *, source: str
) -> JobSettings:
    """The settings of a job that is there already, for doing a part of it again.

    Args:
        model: Of the job's task.
        flags: As in :func:`load_target_settings`, of ``RETRY_FIELDS``; they win over the
            environment's variables of these fields, and those over what is recorded.
        recorded: ``settings`` of the job's ``job.json``.
        source: Its ``source``.

    Raises:
        UsageError: Naming the flag, variable or key that is wrong.
    """
    known = model.model_fields.keys() - set(_NOT_OF_A_RETRY)
    values = {name: value for name, value in recorded.items() if name in known}
    given = _environment(model)
    values |= {name: value for name, value in given.items() if name in RETRY_FIELDS}
    return _gathered(model, flags, {**values, "src": source})


def _environment(model: type[StorageSettings]) -> dict[str, Any]:
    _refuse_unknown_variables()
    return EnvSettingsSource(model)()


def _gathered(model: type[_Settings], flags: dict[str, Any], values: dict[str, Any]) -> _Settings:
    try:
        return model(**{**values, **flags})
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


def setting_names(model: type[StorageSettings] = StorageSettings) -> set[str]:
    """Fields of a model and of all models that extend it, as far as they are loaded."""
    return set(model.model_fields).union(*map(setting_names, model.__subclasses__()))


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
    close = difflib.get_close_matches(name.lower(), setting_names(), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _refuse_unknown_variables() -> None:
    """Refuse variables that are no setting, but for those of a Kubernetes service's name."""
    known = setting_names()
    for variable in os.environ:
        name = variable.removeprefix(ENV_PREFIX).lower()
        is_ours = variable.startswith(ENV_PREFIX) and not _KUBERNETES_SERVICE.search(variable)
        if is_ours and name not in known:
            raise UsageError(
                f"{variable} in the environment is not a setting{_suggestion(name)}", item=variable
            )
