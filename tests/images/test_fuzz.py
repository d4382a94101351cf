from sdflow.images.codec import decode

from .fuzz import MAX_PIXELS, search, whole_files


def test_damaged_files_are_decoded_or_get_a_stable_code() -> None:
    summary = search(400, seed=1)
    assert summary.counts.total() == 400
    assert summary.failures == []
    assert summary.counts["decoded"] > 0
    assert summary.counts["decode.corrupt"] > 0


def test_one_file_in_six_is_full_of_metadata() -> None:
    files = whole_files()
    images = [decode(data, key="k", max_pixels=MAX_PIXELS, first_frame=True) for data in files]
    full = [image for image in images if image.metadata.exif and image.metadata.xmp]
    assert 6 * len(full) >= len(files)
