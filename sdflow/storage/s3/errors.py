"""What S3 and its client complain about, in sdflow's own errors.

Every message names the thing and the next step, and never a credential.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from botocore import exceptions as aws
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from sdflow.errors import (
    AccessDeniedError,
    NotFoundError,
    PreconditionError,
    SdflowError,
    StorageError,
    TransientStorageError,
    UnsupportedError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOADING_CREDENTIALS = (
    aws.CredentialRetrievalError,
    aws.MetadataRetrievalError,
    aws.NoAuthTokenError,
    aws.PartialCredentialsError,
    aws.SSOError,
    aws.TokenRetrievalError,
)
_SETTINGS = (
    aws.ConfigNotFound,
    aws.ConfigParseError,
    aws.InvalidConfigError,
    aws.InvalidDNSNameError,
    aws.InvalidRetryConfigurationError,
    aws.InvalidS3AddressingStyleError,
    aws.NoRegionError,
    aws.ParamValidationError,
    aws.ValidationError,
    ValueError,
)
_BROKEN = (
    aws.ChecksumError,
    aws.ConnectionError,
    aws.FlexibleChecksumError,
    aws.HTTPClientError,
    aws.IncompleteReadError,
    HTTPError,
)


class RetryHereError(TransientStorageError):
    """A failure that the SDK does not retry: damaged bytes, or a write that met another one."""


class UploadGoneError(StorageError):
    """An upload in parts is not there: it was completed, or somebody discarded it."""


class _Refusal(NamedTuple):
    """The error and the words for one kind of answer."""

    kind: type[StorageError]
    text: str


_CREDENTIALS = (
    "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or --profile, "
    "or use --no-sign-request for a public bucket"
)
_ANONYMOUS = _Refusal(
    AccessDeniedError, "'{url}' is not public ({said}): give credentials, not --no-sign-request"
)
_CLOCK = _Refusal(AccessDeniedError, "{endpoint} refused the time of this machine: set its clock")
_COLLIDED = _Refusal(RetryHereError, "'{url}' was written by someone else meanwhile ({said})")
_DAMAGED = _Refusal(RetryHereError, "'{url}' was damaged on its way to {endpoint} ({said})")
_DENIED = _Refusal(AccessDeniedError, f"access to '{{url}}' was denied ({{said}}): {_CREDENTIALS}")
_CHANGED = _Refusal(PreconditionError, "'{url}' has changed since it was listed")
_NO_BUCKET = _Refusal(
    NotFoundError,
    "bucket '{bucket}' does not exist at {endpoint}: check the name or --endpoint-url",
)
_NO_OBJECT = _Refusal(NotFoundError, "'{url}' does not exist")
_OTHER = _Refusal(StorageError, "'{url}': {endpoint} refused the request ({said})")
_OTHER_REGION = _Refusal(
    StorageError, "bucket '{bucket}' is in another region ({said}): check --region"
)
_OVERLOADED = _Refusal(
    TransientStorageError, "{endpoint} is overloaded or broken, or is not S3 ({said})"
)
_UPLOAD_GONE = _Refusal(
    UploadGoneError, "the upload of '{url}' was ended by someone else ({said}): try again"
)
_UNCONDITIONAL = _Refusal(
    UnsupportedError, "'{url}': {endpoint} has no conditional put (If-None-Match) ({said})"
)
_WRONG_KEYS = _Refusal(
    AccessDeniedError, f"the credentials were refused by {{endpoint}} ({{code}}): {_CREDENTIALS}"
)

_BY_CODE = {
    "AuthorizationHeaderMalformed": _OTHER_REGION,
    "BadDigest": _DAMAGED,
    "ExpiredToken": _WRONG_KEYS,
    "IllegalLocationConstraintException": _OTHER_REGION,
    "IncompleteBody": _DAMAGED,
    "InvalidAccessKeyId": _WRONG_KEYS,
    "InvalidObjectState": _OTHER,  # archived; a 403 all the same
    "InvalidSecurity": _WRONG_KEYS,
    "InvalidToken": _WRONG_KEYS,
    "NoSuchBucket": _NO_BUCKET,
    "NoSuchUpload": _UPLOAD_GONE,
    "PermanentRedirect": _OTHER_REGION,
    "QuotaExceeded": _OTHER,  # a 403 all the same
    "RequestTimeTooSkewed": _CLOCK,
    "RequestTimeout": _OVERLOADED,
    "SignatureDoesNotMatch": _WRONG_KEYS,
    "SlowDown": _OVERLOADED,
    "TokenRefreshRequired": _WRONG_KEYS,
    "XAmzContentSHA256Mismatch": _DAMAGED,
}
_BY_STATUS = {
    301: _OTHER_REGION,
    307: _OTHER_REGION,
    403: _DENIED,
    404: _NO_OBJECT,
    409: _COLLIDED,
    412: _CHANGED,
    429: _OVERLOADED,
    501: _UNCONDITIONAL,
}


@dataclass(frozen=True, slots=True)
class S3Place:
    """What messages say about where a request went.

    Attributes:
        bucket: Name of the bucket.
        prefix: Prefix of the store.
        endpoint: Address of the service; a name and password in it are never shown.
        anonymous: Whether requests carry no credentials.
    """

    bucket: str
    prefix: str
    endpoint: str
    anonymous: bool = False

    def url(self, key: str = "") -> str:
        """The full address of an object, or of the root."""
        return f"s3://{self.bucket}/{self.prefix}{key}"


@contextmanager
def translating(place: S3Place, key: str = "") -> Iterator[None]:
    """Raise errors of :mod:`sdflow.errors` for those of the client.

    Args:
        place: Where requests go.
        key: The object that they are about; "" for the root.
    """
    try:
        yield
    except aws.ClientError as error:
        raise _refused(error, place, key) from error
    except (aws.BotoCoreError, HTTPError, ResponseParserError, ValueError) as error:
        raise _failed(error, place, key) from error


def status_of(error: aws.ClientError) -> int:
    """The HTTP status of an answer that is an error; 0 where it is unknown."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def code_of(error: aws.ClientError) -> str:
    """The code that S3 gave, such as NoSuchKey; the status where there was no body."""
    return error.response.get("Error", {}).get("Code", "")


def _refused(error: aws.ClientError, place: S3Place, key: str) -> SdflowError:
    """The error for an answer of the service."""
    code, status = code_of(error), status_of(error)
    refusal = _BY_CODE.get(code) or _BY_STATUS.get(status)
    if refusal is None:
        refusal = _OVERLOADED if status >= 500 else _OTHER
    elif refusal is _NO_OBJECT and not key:
        refusal = _NO_BUCKET
    elif refusal is _DENIED and place.anonymous:
        refusal = _ANONYMOUS
    said = f"{code} {error.response.get('Error', {}).get('Message', '')}".strip()
    text = refusal.text.format(
        bucket=place.bucket,
        code=code,
        endpoint=without_password(place.endpoint),
        said=without_password(said),
        url=place.url(key),
    )
    return refusal.kind(text, item=key or place.url())


def _failed(error: Exception, place: S3Place, key: str) -> SdflowError:
    """The error for a request that got no answer, or was never sent."""
    item, endpoint = key or place.url(), without_password(place.endpoint)
    name, said = type(error).__name__, without_password(str(error))
    if isinstance(error, aws.NoCredentialsError):
        return AccessDeniedError(f"no credentials were found: {_CREDENTIALS}", item=item)
    if isinstance(error, _LOADING_CREDENTIALS):
        # What a credential process printed stays out of messages.
        reason = name if isinstance(error, aws.CredentialRetrievalError) else said
        text = f"the credentials could not be loaded ({reason}): {_CREDENTIALS}"
        return AccessDeniedError(text, item=item)
    if isinstance(error, aws.ProfileNotFound):
        return UsageError(f"{said}: check --profile or AWS_PROFILE", item="--profile")
    if isinstance(error, aws.SSLError):
        text = f"no secure connection to {endpoint}: check https:// in --endpoint-url, and its "
        return StorageError(f"{text}certificate (AWS_CA_BUNDLE)", item=item)
    if isinstance(error, _BROKEN):
        text = f"no whole answer from {endpoint} for '{place.url(key)}' ({name}): "
        return TransientStorageError(f"{text}check --endpoint-url and the network", item=item)
    if isinstance(error, ResponseParserError):
        return not_s3(place)
    if isinstance(error, _SETTINGS):
        text = f"cannot use '{place.url()}' at {endpoint}: {said}"
        return UsageError(text, item=item)
    return StorageError(f"'{place.url(key)}': {said}", item=item)


def not_s3(place: S3Place) -> StorageError:
    """The error for an answer that no S3 service would give."""
    endpoint = without_password(place.endpoint)
    text = f"what answers at {endpoint} is not S3: check --endpoint-url"
    return StorageError(text, item=place.url())


def without_password(text: str) -> str:
    """``text`` with the user and password of every address left out."""
    return re.sub(r"//[^/\s@]*@", "//", text)
