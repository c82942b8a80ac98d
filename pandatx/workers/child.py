"""The child side of the pool: run one call at a time until the parent closes the pipe.

Starts in some tens of milliseconds, so it must not import Twisted or anything else that is heavy.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Final

from pandatx.workers.protocol import ANSWERS_FD, CALLS_FD, Frames, frame, mark

PARENT_VARIABLE: Final = "PANDATX_POOL_PARENT"
_PR_SET_PDEATHSIG: Final = 1
_PIECE: Final = 1 << 20


def main() -> None:
    """Serve the calls of the parent whose process id stands in the environment."""
    _stand_apart()
    _die_with(int(os.environ.pop(PARENT_VARIABLE)))
    streams = _claim_descriptors()
    _write(ANSWERS_FD, frame({"ready": os.getpid()}))
    for message in _messages():
        answer = _answer(message)
        _flush()
        for stream in streams:
            _write(stream, mark(message["call"]))
        _write(ANSWERS_FD, answer)


def _stand_apart() -> None:
    """A process group of its own, so that the parent can kill a call with all it started."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # A handler that does nothing, not SIG_IGN: that one would be inherited by the programs that scripts start.
        signal.signal(number, lambda *_: None)


def _die_with(parent: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit("the server ended before its child was ready")


def _claim_descriptors() -> tuple[int, int]:
    """Keep the pipes from programs that scripts start; copies of stdout and stderr, whatever scripts do to 1 and 2."""
    for descriptor in (CALLS_FD, ANSWERS_FD):
        os.set_inheritable(descriptor, False)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    return os.dup(1), os.dup(2)


def _messages() -> Iterator[Any]:
    frames = Frames()
    while piece := os.read(CALLS_FD, _PIECE):
        yield from frames.feed(piece)


def _answer(message: dict[str, Any]) -> bytes:
    """Run one call; its answer as it goes through the pipe. Whatever it raises, SystemExit included, becomes one."""
    os.environ["PGAPPNAME"] = message["application"]
    call = message["call"]
    try:
        result = find(message["name"])(*message["args"])
        return frame({"call": call, "ok": result, "memory": _memory_mb()})
    except BaseException as fault:
        text = "".join(traceback.format_exception_only(fault)).strip()
        trace = "".join(traceback.format_exception(fault))
        told = {"error": _printable(text), "traceback": _printable(trace)}
        return frame({"call": call, **told, "memory": _memory_mb()})


def find(name: str) -> Callable[..., Any]:
    """The function behind "package.module:function"."""
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{name} is not a function")
    return found  # type: ignore[no-any-return]


def _printable(text: str) -> str:
    """Lone surrogates have no UTF-8, and so no JSON."""
    return text.encode("utf-8", "backslashreplace").decode()


def _memory_mb() -> float:
    with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 - pathlib is an import more for each child
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # A script may have closed or replaced them.
        with contextlib.suppress(ValueError, OSError, AttributeError):
            stream.flush()


def _write(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


if __name__ == "__main__":
    main()
