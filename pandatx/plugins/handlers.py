"""The operator's handlers of asynchronous requests: type of request to "package.module:function", read strictly."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Final

from pandatx.errors import EXIT_CONFIGURATION, StartFault

CHECK_LIMIT: Final = 30.0
_CHECK: Final = "import sys; from pandatx.workers.child import find; find(sys.argv[1])"


def fault_in_a_child(target: str) -> str | None:
    """Why there is no such function, found in a short process: its imports may be heavy. Before the reactor runs."""
    command = [sys.executable, "-P", "-c", _CHECK, target]
    try:
        check = subprocess.run(command, capture_output=True, text=True, timeout=CHECK_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return f"it could not be loaded within {CHECK_LIMIT:g} s"
    if check.returncode:
        return check.stderr.strip().rpartition("\n")[2] or f"its module ended Python with code {check.returncode}"
    return None


def check_handlers(
    handlers: Mapping[str, str], check: Callable[[str], str | None] = fault_in_a_child
) -> Mapping[str, str]:
    """The handlers as they are. Raises StartFault with all that are none, each by the type of its requests."""
    faults = [
        f"[pandatx] request_handlers: {kind}: {target}: {fault}"
        for kind, target in handlers.items()
        if (fault := check(target)) is not None
    ]
    if faults:
        raise StartFault(EXIT_CONFIGURATION, "; ".join(faults))
    return handlers
