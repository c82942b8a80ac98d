"""The settings that keep callers from harming each other: sizes, times, and how many at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import frozen

from pandatx.config import kinds
from pandatx.config.keys import ENVIRONMENT, setting
from pandatx.config.kinds import MIB

_OF_OPERATIONS = {"megabytes": "inflated", "seconds": "seconds"}


def _operation_limits(value: str, base: Path) -> dict[str, dict[str, float]]:
    document = kinds.json_object(value)
    for path, limits in document.items():
        if not isinstance(limits, dict) or not limits or set(limits) - set(_OF_OPERATIONS):
            raise ValueError(f'the limits of "{path}" are not an object with {" or ".join(_OF_OPERATIONS)}')
        for name, number in limits.items():
            if not isinstance(number, int | float) or isinstance(number, bool) or not 0 < number < 1e9:
                raise ValueError(f'{name} of "{path}" is not a number above 0')
    return document


OPERATION_LIMITS = kinds.Kind("JSON object", _operation_limits)


@frozen(kw_only=True)
class LimitSettings:
    """What a caller, a connection and a request may cost. Times in seconds, sizes in bytes, rates in bytes a second."""

    max_connections: int = setting(
        f"{ENVIRONMENT}.PANDA_SERVER_CONF_MAX_WORKERS",
        kinds.whole(1),
        4096,
        "Connections from clients that are open at once.",
    )
    connections_per_address: int = setting(
        "pandatx.connections_per_address",
        kinds.whole(1),
        512,
        "Connections that one address may have open. Those of trusted_proxies are not counted.",
    )
    header_timeout: float = setting(
        "pandatx.header_timeout", kinds.SECONDS, 30.0, "Time for the TLS handshake and the headers.", unit="s"
    )
    body_timeout: float = setting("pandatx.body_timeout", kinds.SECONDS, 600.0, "Time for a request's body.", unit="s")
    body_rate: int = setting(
        "pandatx.body_rate",
        kinds.whole(1, scale=1024),
        16 * 1024,
        "A body that comes at least so fast is not cut off after body_timeout.",
        unit="KiB/s",
    )
    answer_timeout: float = setting(
        "pandatx.answer_timeout",
        kinds.SECONDS,
        300.0,
        "How long a client may leave unread what was sent to it.",
        unit="s",
    )
    keep_alive: float = setting(
        "pandatx.keep_alive", kinds.SECONDS, 600.0, "How long a connection may idle between requests.", unit="s"
    )
    max_headers: int = setting("pandatx.max_headers", kinds.whole(10), 500, "Headers of one request.")
    max_header_bytes: int = setting(
        "pandatx.max_header_size",
        kinds.whole(4, scale=1024),
        16 * 1024,
        "Size of the request line and all headers together.",
        unit="KiB",
    )
    requests_per_caller: int = setting(
        "pandatx.requests_per_caller",
        kinds.whole(1),
        64,
        "Requests of one caller that are under way at once. More are told to come again; reports wait for their turn.",
    )
    requests_per_role: int | None = setting(
        "pandatx.requests_per_role",
        kinds.whole(1),
        None,
        "The same for holders of the pilot or production role; unset: no limit.",
    )
    large_bodies_per_caller: int = setting(
        "pandatx.large_bodies_per_caller",
        kinds.whole(1),
        4,
        "Bodies above 1 MiB, inflated, that one caller may have in memory at once; four times as many with a role. "
        "More wait for their turn.",
    )
    request_timeout: float = setting(
        "pandatx.request_timeout",
        kinds.SECONDS,
        300.0,
        "How long a caller is kept waiting for an answer, where the operation has no time of its own. What was begun "
        "goes on.",
        unit="s",
    )
    operation_limits: dict[str, dict[str, float]] = setting(
        "pandatx.operation_limits",
        OPERATION_LIMITS,
        {},
        'Limits of single operations, as JSON: {"job/submit": {"megabytes": 512, "seconds": 600}}; megabytes of the '
        "body when it is inflated, and on the wire.",
    )

    @property
    def of_operations(self) -> dict[str, dict[str, Any]]:
        """The limits of single operations by the names of their declaration (resources/api.py)."""
        return {
            path: {
                _OF_OPERATIONS[name]: int(number * MIB) if name == "megabytes" else float(number)
                for name, number in limits.items()
            }
            for path, limits in self.operation_limits.items()
        }
