from __future__ import annotations

import inspect
import pickle

import pytest

from sdflow import errors
from sdflow.errors import DecodeError, SdflowError

_KINDS = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SdflowError)
]


@pytest.mark.parametrize("kind", _KINDS)
def test_errors_survive_pickling_with_all_they_carry(kind: type[SdflowError]) -> None:
    error = pickle.loads(pickle.dumps(kind("what and why", item="a/b.jpg", code="x.y")))  # noqa: S301
    assert type(error) is kind
    assert (str(error), error.item, error.code) == ("what and why", "a/b.jpg", "x.y")


def test_codes_are_distinct_and_drawn_in_the_docstring() -> None:
    codes = [kind.code for kind in _KINDS]
    assert len(set(codes)) == len(codes)
    assert all(kind.__name__ in (errors.__doc__ or "") for kind in _KINDS)
    assert DecodeError("m").code == "decode.unsupported"
