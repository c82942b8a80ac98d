"""The entry point for daemon scripts: plain blocking Python of another package, run in a child."""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import Any

from pandatx.workers.parent import Parent
from pandatx.workers.tbuf import TaskBuffer


def run_script(module: str, arguments: list[Any], parent: Parent) -> bool:
    """Run ``main(argv, tbuf)`` of a module; true means that a daemon in loop mode wants to go on at once.

    ``argv[0]`` is the script's file and the arguments follow unchanged, as the PanDA daemon guide has it.
    ``sys.exit()`` without an error is an end like any other.
    """
    script = importlib.import_module(module)
    tbuf = _task_buffer(parent)
    assert parent.call is not None
    tbuf.open(parent.call)
    try:
        return bool(script.main(argv=(script.__file__, *arguments), tbuf=tbuf, lock_pool=None))
    except SystemExit as end:
        if end.code:
            raise
        return False
    finally:
        tbuf.close()


@lru_cache(maxsize=1)
def _task_buffer(parent: Parent) -> TaskBuffer:
    """One for the whole life of a child: scripts may keep it in a global."""
    return TaskBuffer(parent)
