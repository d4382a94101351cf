from .fuzz import search


def test_damaged_files_are_decoded_or_get_a_stable_code() -> None:
    summary = search(400, seed=1)
    assert summary.counts.total() == 400
    assert summary.failures == []
    assert summary.counts["decoded"] > 0
    assert summary.counts["decode.corrupt"] > 0
