from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdflow.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    InvalidKeyError,
    NotFoundError,
    StorageError,
)
from sdflow.storage.files import TEMP_PREFIX, storage_error
from sdflow.storage.local import LocalStore
from tests.storage.contract import Bench, StoreContract

PARTS = st.sampled_from(["a", "a.b", "a0", "a-", "a b", "A", "b", "é", "z\u0308", "😀", "\uff5e"])
KEYS = st.lists(PARTS, min_size=1, max_size=3).map("/".join)

# The kernel ends a process that writes more than the limit: a put that is killed in the middle.
KILLED_PUT = """
import resource, signal, sys
from pathlib import Path
from sdflow.storage.local import LocalStore
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
signal.signal(signal.SIGXFSZ, {handler})
store = LocalStore(Path(sys.argv[1]))
{put}
"""
PUTS = [
    'store.put("a/b", bytes(100_000))',
    'store.put_stream("a/b", (bytes(1000) for _ in range(100)))',
]


def put_beyond_the_limit(root: Path, handler: str, put: str) -> subprocess.CompletedProcess[str]:
    script = KILLED_PUT.format(handler=handler, put=put)
    command = [sys.executable, "-c", script, str(root)]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours


class LocalBench(Bench):
    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = LocalStore(root)

    def raw_get(self, key: str) -> bytes | None:
        path = self.root / key
        return path.read_bytes() if path.is_file() else None

    def raw_set(self, key: str, data: bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class TestLocalStore(StoreContract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> LocalBench:
        (tmp_path / "root-and-more").mkdir()
        (tmp_path / "root-and-more" / "a").write_bytes(b"not ours")
        return LocalBench(tmp_path / "root")

    @given(st.sets(KEYS, max_size=12))
    def test_the_order_is_that_of_bytes(self, wanted: set[str]) -> None:
        folders = {key[:i] for key in wanted for i, char in enumerate(key) if char == "/"}
        keys = wanted - folders
        with TemporaryDirectory() as folder:
            bench = LocalBench(Path(folder))
            bench.raw_set_many(dict.fromkeys(keys, b""))
            assert [info.key for info in bench.store.list()] == sorted(keys, key=str.encode)

    @pytest.mark.parametrize(
        "key", ["..", "../a", "a/../../b", "/etc/passwd", "a//b", "a/", "./a", "a\0b", "\ud800"]
    )
    def test_keys_that_lead_elsewhere_are_refused(self, bench: LocalBench, key: str) -> None:
        store = bench.store
        for call in (store.get, store.head, store.delete):
            with pytest.raises(InvalidKeyError):
                call(key)
        for write in (store.put, store.put_if_absent):
            with pytest.raises(InvalidKeyError):
                write(key, b"")
        assert not bench.root.exists()

    @pytest.mark.parametrize("prefix", ["../", "../root-and-more/", "./", "a\0"])
    def test_prefixes_lead_nowhere_else(self, bench: LocalBench, prefix: str) -> None:
        bench.raw_set("a", b"")
        assert list(bench.store.list(prefix)) == []
        assert list(bench.store.list_folder(prefix)) == []

    def test_an_empty_folder_is_a_folder(self, bench: LocalBench) -> None:
        (bench.root / "empty").mkdir(parents=True)
        assert list(bench.store.list_folder()) == ["empty/"]
        assert list(bench.store.list_folder("empty/")) == []
        assert list(bench.store.list()) == []

    def test_nothing_is_written_or_removed_through_a_link_that_leads_out(
        self, bench: LocalBench, tmp_path: Path
    ) -> None:
        outside = tmp_path / "root-and-more"
        bench.raw_set("x", b"")
        (bench.root / "out").symlink_to(outside)
        for write in (bench.store.put, bench.store.put_if_absent):
            with pytest.raises(InvalidKeyError, match="leads out"):
                write("out/b", b"")
            with pytest.raises(InvalidKeyError, match="leads out"):
                write("out/new/b", b"")
        with pytest.raises(InvalidKeyError, match="leads out"):
            bench.store.delete("out/a")
        assert [path.name for path in outside.iterdir()] == ["a"]

    def test_a_put_replaces_a_link_and_not_what_it_points_to(
        self, bench: LocalBench, tmp_path: Path
    ) -> None:
        target = tmp_path / "root-and-more" / "a"
        bench.raw_set("x", b"")
        (bench.root / "link").symlink_to(target)
        with pytest.raises(AlreadyExistsError):
            bench.store.put_if_absent("link", b"new")
        bench.store.put("link", b"new")
        assert (bench.store.get("link"), target.read_bytes()) == (b"new", b"not ours")

    def test_the_root_may_be_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        store = LocalStore(tmp_path / "link")
        store.put("a/b", b"x")
        assert [info.key for info in store.list()] == ["a/b"]

    def test_linked_files_are_listed_and_linked_folders_are_not(self, bench: LocalBench) -> None:
        bench.raw_set("folder/file", b"abc")
        (bench.root / "file-link").symlink_to("folder/file")
        (bench.root / "folder" / "loop").symlink_to("..")
        (bench.root / "dangling").symlink_to("nothing")
        (bench.root / "itself").symlink_to("itself")
        listed = [(info.key, info.size_bytes) for info in bench.store.list()]
        assert listed == [("file-link", 3), ("folder/file", 3)]
        assert list(bench.store.list("folder/loop/")) == []
        assert list(bench.store.list_folder("folder/loop/")) == []
        assert bench.store.get("file-link") == b"abc"

    def test_only_files_count(self, bench: LocalBench) -> None:
        bench.raw_set("file", b"")
        os.mkfifo(bench.root / "pipe")
        assert [info.key for info in bench.store.list()] == ["file"]
        assert [info for info in bench.store.list_folder() if isinstance(info, str)] == []
        with pytest.raises(NotFoundError, match="pipe"):
            bench.store.get("pipe")

    def test_names_that_are_not_utf8_are_listed_and_read(self, bench: LocalBench) -> None:
        names = [b"a\xff.png", b"a\xc3\xa9.png", b"a\xe9.png", b"b.png"]
        bench.root.mkdir()
        for name in names:
            (bench.root / os.fsdecode(name)).write_bytes(name)
        keys = [info.key for info in bench.store.list()]
        assert [os.fsencode(key) for key in keys] == sorted(names)
        assert [bench.store.get(key) for key in keys] == sorted(names)

    @pytest.mark.parametrize("put", PUTS)
    def test_a_killed_put_leaves_the_old_and_is_not_listed(
        self, bench: LocalBench, put: str
    ) -> None:
        bench.raw_set("a/b", b"old")
        killed = put_beyond_the_limit(bench.root, "signal.SIG_DFL", put)
        assert killed.returncode < 0
        leftovers = [path.name for path in (bench.root / "a").iterdir() if path.name != "b"]
        assert [name.startswith(TEMP_PREFIX) for name in leftovers] == [True]
        assert [info.key for info in bench.store.list()] == ["a/b"]
        assert bench.store.get("a/b") == b"old"
        with pytest.raises(InvalidKeyError, match="unfinished"):
            bench.store.put(f"a/{leftovers[0]}", b"")

    def test_what_killed_puts_leave_is_discarded_once_it_is_old(
        self, bench: LocalBench, tmp_path: Path
    ) -> None:
        outside = tmp_path / "root-and-more" / f"{TEMP_PREFIX}x"
        outside.write_bytes(b"not ours")
        bench.raw_set("whole", b"x")
        (bench.root / "link").symlink_to(outside.parent)
        for put in PUTS:
            put_beyond_the_limit(bench.root, "signal.SIG_DFL", put)
        assert bench.store.discard_uploads(older_than_s=3600) == 0
        assert bench.store.discard_uploads(older_than_s=-60) == 2
        assert list((bench.root / "a").iterdir()) == []
        assert [info.key for info in bench.store.list()] == ["whole"]
        assert outside.exists()

    def test_nothing_is_discarded_where_nothing_is(self, bench: LocalBench) -> None:
        assert bench.store.discard_uploads(older_than_s=0) == 0

    @pytest.mark.parametrize("put", PUTS)
    def test_a_failed_put_cleans_up_and_names_the_file(self, bench: LocalBench, put: str) -> None:
        failed = put_beyond_the_limit(bench.root, "signal.SIG_IGN", put)
        assert f"StorageError: '{bench.root / 'a/b'}': file too large" in failed.stderr
        assert list((bench.root / "a").iterdir()) == []

    def test_a_file_in_the_way_is_told(self, bench: LocalBench) -> None:
        bench.raw_set("a", b"")
        bench.raw_set("folder/b", b"")
        for write in (bench.store.put, bench.store.put_if_absent):
            for below in ("a/b", "a/b/c"):
                with pytest.raises(StorageError, match="part of its path is a file") as caught:
                    write(below, b"")
                assert caught.value.item == below
            with pytest.raises(StorageError, match="folder': is a"):
                write("folder", b"")
        assert sorted(info.key for info in bench.store.list()) == ["a", "folder/b"]
        assert sorted(path.name for path in bench.root.iterdir()) == ["a", "folder"]

    def test_new_files_have_the_rights_that_the_umask_leaves(self, bench: LocalBench) -> None:
        bench.raw_set("raw", b"")
        bench.store.put("a", b"")
        bench.store.put_if_absent("b", b"")
        modes = {(bench.root / name).stat().st_mode for name in ("raw", "a", "b")}
        assert len(modes) == 1

    def test_check_wants_a_folder(self, bench: LocalBench, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match="does not exist") as caught:
            bench.store.check()
        assert caught.value.item == str(bench.root)
        with pytest.raises(NotFoundError, match="not a folder"):
            LocalStore(tmp_path / "root-and-more" / "a").check()
        bench.store.put("first", b"")
        bench.store.check()

    def test_the_url_is_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert LocalStore(Path("x")).url == str(tmp_path / "x")

    def test_an_etag_tells_a_change_by_someone_else(self, bench: LocalBench) -> None:
        etag = bench.store.put("a", b"abc")
        os.utime(bench.root / "a", ns=(0, 1))
        assert bench.store.head("a").etag != etag


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOENT, NotFoundError, "'k' does not exist"),
        (errno.EACCES, AccessDeniedError, "'k': permission denied"),
        (errno.EROFS, AccessDeniedError, "'k': read-only file system"),
        (errno.ENOSPC, StorageError, "'k': no space left"),
        (errno.EDQUOT, StorageError, "'k': disk quota exceeded"),
        (errno.ENAMETOOLONG, StorageError, "'k': file name too long"),
        (errno.EIO, StorageError, "'k': input/output error"),
    ],
)
def test_errors_of_the_file_system_are_named(
    number: int, kind: type[StorageError], words: str
) -> None:
    error = storage_error(OSError(number, os.strerror(number)), "k", path="k")
    assert type(error) is kind
    assert str(error).startswith(words)
    assert error.item == "k"


def test_putting_what_is_there_already_leaves_the_version_as_it_is(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    etag = store.put("a/b", b"same")
    assert store.put("a/b", b"same") == etag == store.head("a/b").etag
    assert store.put_stream("a/b", [b"sa", b"me"]) == etag == store.head("a/b").etag
    assert store.put("a/b", b"more") != etag
    assert store.put_stream("a/b", [b"same"]) != etag


def test_an_error_of_a_stream_is_not_taken_for_one_of_the_folder(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x"
        raise FileNotFoundError(errno.ENOENT, "scratch")

    with pytest.raises(FileNotFoundError, match="scratch"):
        LocalStore(tmp_path).put_stream("a", chunks())
