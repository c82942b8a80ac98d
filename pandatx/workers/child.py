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
from collections.abc import Callable
from typing import Any, Final

from pandatx.workers.parent import Parent, write_all
from pandatx.workers.protocol import ANSWERS_FD, CALLS_FD, frame, mark
from pandatx.workers.records import collect

PARENT_VARIABLE: Final = "PANDATX_POOL_PARENT"
LEVEL_VARIABLE: Final = "PANDATX_POOL_LOG_LEVEL"
LONGEST_ERROR: Final = 4096
LONGEST_TRACEBACK: Final = 65536
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_OOM_SCORE: Final = b"500"
"""Where memory runs out, the kernel is to take a script and not the server or the database."""


def main() -> None:
    """Serve the calls of the parent whose process id stands in the environment."""
    _stand_apart()
    _die_with(int(os.environ.pop(PARENT_VARIABLE)))
    level = os.environ.pop(LEVEL_VARIABLE, "info")
    streams = _claim_descriptors()
    parent = Parent()
    parent.write(frame({"ready": os.getpid()}))
    os.register_at_fork(after_in_child=parent.abandon)
    collect(parent, level)
    for message in parent.calls():
        answer = _answer(message, parent)
        parent.end_call()
        _flush()
        for stream in streams:
            write_all(stream, mark(message["call"]))
        parent.write(answer)
        _reap()


def _stand_apart() -> None:
    """A process group of its own, so that the parent can kill a call with all it started."""
    os.setsid()
    os.chdir("/")  # here and not by spawnProcess, which would then have to copy the server instead of posix_spawn
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # A handler that does nothing, not SIG_IGN: that one would be inherited by the programs that scripts start.
        signal.signal(number, lambda *_: None)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb", buffering=0) as score:  # noqa: PTH123
        score.write(_OOM_SCORE)


def _die_with(parent: int) -> None:
    """End with the parent; and adopt what scripts leave behind, so that it can be found when a call is killed."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
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


def _answer(message: dict[str, Any], parent: Parent) -> bytes:
    """Run one call; its answer as it goes through the pipe. Whatever it raises, SystemExit included, becomes one."""
    os.environ["PGAPPNAME"] = message["application"]
    call = message["call"]
    try:
        given = {"parent": parent} if "script" in message else {}
        result = find(message["name"])(*message["args"], **given)
        return frame({"call": call, "ok": result, "memory": _memory_mb()})
    except BaseException as fault:
        if parent.forked:
            _leave(fault)
        text = "".join(traceback.format_exception_only(fault)).strip()
        trace = "".join(traceback.format_exception(fault))
        told = {"error": _printable(text, LONGEST_ERROR), "traceback": _printable(trace, LONGEST_TRACEBACK)}
        return frame({"call": call, **told, "memory": _memory_mb()})
    finally:
        if parent.forked:
            _leave(None)


def _leave(fault: BaseException | None) -> None:
    """The end of a process that a script has forked off and that has come back here: it is not ours to serve calls."""
    code = fault.code if isinstance(fault, SystemExit) else None
    if fault is not None and not isinstance(fault, SystemExit):
        traceback.print_exception(fault)
        code = 1
    _flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def find(name: str) -> Callable[..., Any]:
    """The function behind "package.module:function"."""
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{name} is not a function")
    return found  # type: ignore[no-any-return]


def _printable(text: str, longest: int) -> str:
    """What logs and tables can bear. Lone surrogates have no UTF-8, and so no JSON."""
    cut = f"... ({len(text)} characters)" if len(text) > longest else ""
    return text[:longest].encode("utf-8", "backslashreplace").decode() + cut


def _memory_mb() -> float:
    with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 - pathlib is an import more for each child
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # A script may have closed or replaced them.
        with contextlib.suppress(ValueError, OSError, AttributeError):
            stream.flush()


def _reap() -> None:
    """Forget what calls have left behind and has ended since."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue


if __name__ == "__main__":
    main()
