"""Where the body of a request goes whose caller is refused whatever it says."""

from __future__ import annotations


class Nowhere:
    """A file that keeps nothing: strangers are not to fill the disk with bodies that nobody will read."""

    def write(self, data: bytes) -> int:
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0

    def tell(self) -> int:
        return 0

    def read(self, size: int = -1) -> bytes:
        return b""

    def close(self) -> None:
        """There is nothing to let go of."""
