from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdflow.storage import keys

NAMES = st.text(st.sampled_from("ab.s0é "), min_size=1, max_size=8).filter(lambda n: n.strip("."))
KEYS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
SAMPLES = st.none() | st.integers(0, 20)


@pytest.mark.parametrize(
    ("source", "extension", "sample", "natural", "full"),
    [
        ("a/b.jpg", "png", None, "a/b.png", "a/b.jpg.png"),
        ("a/b.jpg", ".png", None, "a/b.png", "a/b.jpg.png"),
        ("a/b.jpg", "png", 0, "a/b.s0.png", "a/b.jpg.s0.png"),
        ("a/b.jpg", None, None, "a/b.jpg", "a/b.jpg"),
        ("a/b.JPG", None, 3, "a/b.s3.JPG", "a/b.JPG.s3.JPG"),
        ("a.d/b", "png", None, "a.d/b.png", "a.d/b.png"),
        ("a.d/b", None, 1, "a.d/b.s1", "a.d/b.s1"),
        (".hidden", "png", None, ".hidden.png", ".hidden.png"),
        ("b.tar.gz", "png", 2, "b.tar.s2.png", "b.tar.gz.s2.png"),
        ("b.", None, 0, "b.s0.", "b..s0."),
    ],
)
def test_names_of_outputs(
    source: str, extension: str | None, sample: int | None, natural: str, full: str
) -> None:
    assert keys.output_key(source, extension=extension, sample=sample) == natural
    assert keys.full_output_key(source, extension=extension, sample=sample) == full


@given(KEYS, KEYS, st.none() | st.just("png"), SAMPLES)
def test_full_names_are_never_shared(a: str, b: str, extension: str | None, sample: int) -> None:
    names = {keys.full_output_key(key, extension=extension, sample=sample) for key in (a, b)}
    assert len(names) == len({a, b})


@given(KEYS, KEYS, SAMPLES)
def test_natural_names_with_the_own_extension_are_never_shared(a: str, b: str, sample: int) -> None:
    names = {keys.output_key(key, extension=None, sample=sample) for key in (a, b)}
    assert len(names) == len({a, b})


@given(KEYS, st.none() | st.just("png"), SAMPLES)
def test_outputs_stay_in_the_folder_of_their_source(
    key: str, extension: str | None, sample: int
) -> None:
    for name in (keys.output_key, keys.full_output_key):
        output = name(key, extension=extension, sample=sample)
        assert output.rpartition("/")[0] == key.rpartition("/")[0]


def test_a_jobs_own_keys() -> None:
    assert keys.JOB_KEY == "_sdflow/job.json"
    assert keys.manifest_key(0) == "_sdflow/manifest/part-00000.jsonl.gz"
    assert keys.manifest_key(12) == "_sdflow/manifest/part-00012.jsonl.gz"
    assert keys.ledger_key("worker-1") == "_sdflow/ledger/worker-1.jsonl.gz"
    assert keys.DEAD_LETTER_KEY == "_sdflow/deadletter.jsonl"
    assert keys.SUMMARY_KEY == "_sdflow/summary.json"
    assert keys.REPORT_KEY == "_sdflow/report.html"


def test_keys_of_leases_and_claims() -> None:
    assert keys.lease_key(1) == "_sdflow/lease/owner-00000001.json"
    assert keys.join_key("3f") == "_sdflow/lease/join-3f.json"
    assert keys.claim_key("b0", 12) == "_sdflow/claims/b0/00012"
    assert keys.claim_key("b0", 12).startswith(keys.claims_prefix("b0"))
    assert all(key.startswith(keys.LEASE_PREFIX) for key in (keys.lease_key(7), keys.join_key("a")))
    assert keys.claims_prefix("b0").startswith(keys.CLAIMS_PREFIX)


@given(st.integers(1, 99_999_999), st.integers(1, 99_999_999))
def test_leases_sort_like_their_epochs_and_tell_them(a: int, b: int) -> None:
    assert (keys.lease_key(a) < keys.lease_key(b)) == (a < b)
    assert keys.lease_epoch(keys.lease_key(a)) == a
    assert keys.lease_epoch(keys.join_key(str(a))) is None


@pytest.mark.parametrize("number", [-1, 0, 100_000_000])
def test_epochs_and_claims_count_from_one_and_keep_their_order(number: int) -> None:
    with pytest.raises(ValueError, match="epoch"):
        keys.lease_key(number)
    with pytest.raises(ValueError, match="claim"):
        keys.claim_key("b0", number)


@pytest.mark.parametrize("name", ["", "a/b"])
def test_drivers_and_blocks_have_names_without_folders(name: str) -> None:
    with pytest.raises(ValueError, match="driver"):
        keys.join_key(name)
    with pytest.raises(ValueError, match="block"):
        keys.claim_key(name, 1)


def test_a_jobs_own_keys_are_recognised_at_any_depth() -> None:
    own = [keys.JOB_KEY, keys.manifest_key(3), keys.ledger_key("x"), "older/_sdflow/parts/a.png"]
    others = ["a.png", "_sdflow.png", "a_sdflow/b.png", "_sdflows/b.png"]
    assert [keys.is_job_key(key) for key in own + others] == [True] * 4 + [False] * 4


@pytest.mark.parametrize("part", [-1, 100_000])
def test_parts_of_the_manifest_keep_their_order(part: int) -> None:
    with pytest.raises(ValueError, match="manifest part"):
        keys.manifest_key(part)


@pytest.mark.parametrize("name", ["", "a/b"])
def test_a_part_of_the_ledger_is_one_name(name: str) -> None:
    with pytest.raises(ValueError, match="ledger"):
        keys.ledger_key(name)
