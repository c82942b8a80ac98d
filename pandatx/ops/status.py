"""The status line that systemd shows."""

from __future__ import annotations

from attrs import define, field, frozen


@frozen(kw_only=True)
class Figures:
    """What the status line tells, counted since the start where nothing else is said."""

    requests: int
    bytes: int
    busy: int
    """Requests being worked on, of ``capacity`` connections."""
    capacity: int
    sessions_busy: int
    sessions: int
    daemons: str
    """Such as ``12 ok, 1 late``."""
    schema: str
    """Such as ``0.1.6 passed``."""


@define
class StatusLine:
    """The line of ``Figures``; rates are those since the line before."""

    _before: tuple[float, int, int] | None = field(default=None, init=False)

    def text(self, figures: Figures, seconds: float) -> str:
        """One line; ``seconds`` is any clock that only goes forward."""
        requests, kilobytes = self._rates(figures, seconds)
        return (
            f"Total requests: {figures.requests}; busy {figures.busy}/{figures.capacity}; {requests:.1f} requests/s; "
            f"{kilobytes:.0f} kB/s; DB {figures.sessions_busy}/{figures.sessions}; "
            f"daemons {figures.daemons}; schema {figures.schema}"
        )

    def _rates(self, figures: Figures, seconds: float) -> tuple[float, float]:
        before, self._before = self._before, (seconds, figures.requests, figures.bytes)
        if before is None or seconds <= before[0]:
            return 0.0, 0.0
        passed = seconds - before[0]
        return (figures.requests - before[1]) / passed, (figures.bytes - before[2]) / passed / 1000
