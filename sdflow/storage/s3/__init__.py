"""S3 as a store; boto3 is imported below this package alone."""

from sdflow.storage.s3.store import S3Store

__all__ = ["S3Store"]
