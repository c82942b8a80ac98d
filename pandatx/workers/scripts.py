"""The entry point for daemon scripts: plain blocking Python of another package, run in a child."""

from __future__ import annotations

import importlib
from typing import Any


def run_script(module: str, arguments: list[Any]) -> bool:
    """Run ``main(argv, tbuf=None)`` of a module; true means that a daemon in loop mode wants to go on at once.

    ``argv[0]`` is the script's file and the arguments follow unchanged, as the PanDA daemon guide has it.
    """
    script = importlib.import_module(module)
    return bool(script.main([script.__file__, *arguments], tbuf=None))
