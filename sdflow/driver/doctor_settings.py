"""What ``sdflow doctor`` can be told."""

from __future__ import annotations

from pydantic import Field

from sdflow.config import StorageSettings


class DoctorSettings(StorageSettings):
    """Places to try, and what to print."""

    src: str | None = Field(None, description="try to list and read: s3://bucket/prefix/, a folder")
    dst: str | None = Field(
        None, description="try to list, write, read and delete: s3://bucket/prefix/, a folder"
    )
    policy: bool = Field(
        False, description="print the smallest S3 policy for SRC and DST, and try nothing"
    )
