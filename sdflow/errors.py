"""Every error that sdflow raises on purpose.

::

    SdflowError
    ├── UsageError                 a wrong flag, setting or combination          exit status 2
    ├── WeightsError               weights missing, damaged or of another network  exit status 1
    ├── TrainingError              a training run cannot go on                     exit status 1
    ├── ClusterError               Ray cannot be reached or gives no worker        exit status 1
    ├── StorageError               a store refused or broke                        exit status 1
    │   ├── NotFoundError          bucket, folder or object is absent
    │   ├── AccessDeniedError      credentials missing, wrong or without the right
    │   ├── AlreadyExistsError     put-if-absent lost the race
    │   ├── PreconditionError      the object is no longer the version asked for
    │   ├── InvalidKeyError        a key that would leave its prefix
    │   ├── TransientStorageError  throttling, 5xx, reset, short body: try again
    │   └── UnsupportedError       the store lacks something that was asked of it
    ├── OutOfMemoryError           not even one small tile fits: try again elsewhere
    └── ImageError                 one image cannot be done: a dead letter, the job goes on
        ├── DecodeError            decode.empty, .truncated, .corrupt or .unsupported
        ├── EncodeError            encode.unsupported
        ├── TooLargeError          too_large
        └── NonFiniteError         nan

All carry ``item`` (the key, file or flag they are about), a stable ``code`` for machines, and
``transient``: whether the same attempt may succeed later. All survive pickling, because they
cross process borders inside Ray.
"""

from __future__ import annotations


class SdflowError(Exception):
    """Base of every deliberate error.

    Attributes:
        item: The key, path or flag that the error is about; "" where there is none.
        code: Stable identifier for dead letters and scripts, such as ``decode.truncated``.
        transient: True where trying again later may help.
    """

    code = "error"
    transient = False

    def __init__(self, message: str, *, item: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.item = item
        if code is not None:
            self.code = code


class UsageError(SdflowError):
    """A wrong flag, setting or combination of them; nothing was started."""

    code = "usage"


class WeightsError(SdflowError):
    """Weights are missing, damaged, unsafe or belong to another network."""

    code = "weights"


class TrainingError(SdflowError):
    """A training run diverged, or cannot go on from what is there."""

    code = "training"


class ClusterError(SdflowError):
    """Ray cannot be reached, or gives no worker."""

    code = "cluster"


class StorageError(SdflowError):
    """A store refused a request or answered nonsense."""

    code = "storage"


class NotFoundError(StorageError):
    """The bucket, folder or object does not exist."""

    code = "storage.not_found"


class AccessDeniedError(StorageError):
    """Credentials are missing, wrong, or lack the right."""

    code = "storage.denied"


class AlreadyExistsError(StorageError):
    """The object to be created is already there."""

    code = "storage.exists"


class PreconditionError(StorageError):
    """The object is no longer (or not yet) the version that was asked for."""

    code = "storage.changed"


class InvalidKeyError(StorageError):
    """The key is empty, absolute or would leave the prefix it belongs to."""

    code = "storage.key"


class TransientStorageError(StorageError):
    """Throttling, a server error, a broken connection or a short body."""

    code = "storage.transient"
    transient = True


class UnsupportedError(StorageError):
    """The store lacks something that was asked of it."""

    code = "storage.unsupported"


class ImageError(SdflowError):
    """One image cannot be done. It becomes a dead letter; the job goes on."""

    code = "image"


class DecodeError(ImageError):
    """The source bytes are not an image that can be read faithfully."""

    code = "decode.unsupported"


class EncodeError(ImageError):
    """The result cannot be written in the asked format without loss of kind."""

    code = "encode.unsupported"


class TooLargeError(ImageError):
    """The image has more pixels than the job allows."""

    code = "too_large"


class NonFiniteError(ImageError):
    """The network produced NaN or infinity."""

    code = "nan"


class OutOfMemoryError(SdflowError):
    """Not even one small tile fits into the memory of the device, or of the processor."""

    code = "oom"
    transient = True
