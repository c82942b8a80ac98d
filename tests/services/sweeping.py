"""What tests of sweeps and of the Watcher share."""

from __future__ import annotations


class Loud:
    """Silence counts."""

    async def silence_counts(self) -> bool:
        return True


async def no_pause() -> None:
    """Nobody else waits."""
