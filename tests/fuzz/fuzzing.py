"""How long fuzzing takes: some hundred examples in every test run, and as long as PANDATX_FUZZ_SECONDS says by
``make fuzz SECONDS=3600``, shared among the tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic
from typing import Any

from hypothesis import HealthCheck, given, settings

SECONDS = float(os.environ.get("PANDATX_FUZZ_SECONDS") or 0)
_tests: list[str] = []


def share(number: int) -> None:
    """Say how many tests share the time."""
    _tests[:] = ["test"] * number


def fuzzed(*strategies: Any, examples: int = 200, **named: Any) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Make a test of a function that gets examples: in place of hypothesis' ``given``."""

    def make(check: Callable[..., None]) -> Callable[[], None]:
        many = 5_000 if SECONDS else examples
        how = settings(max_examples=many, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        run = how(given(*strategies, **named)(check))

        def test() -> None:
            end = monotonic() + SECONDS / max(1, len(_tests))
            run()
            while monotonic() < end:
                run()

        test.__name__, test.__doc__, test.__module__ = check.__name__, check.__doc__, check.__module__
        return test

    return make
