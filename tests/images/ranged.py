"""Files that are read by ranges."""


class Ranged:
    """Counts what was read; ranges that end behind ``broken_from`` raise ConnectionError."""

    def __init__(self, data: bytes, *, broken_from: int | None = None) -> None:
        self._data = data
        self._broken_from = len(data) if broken_from is None else broken_from
        self.read_bytes = 0

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, part: slice, /) -> bytes:
        assert part.start >= 0
        assert part.stop >= 0
        if min(part.stop, len(self)) > self._broken_from:
            raise ConnectionError("the wire was cut")
        found = self._data[part]
        self.read_bytes += len(found)
        return found
