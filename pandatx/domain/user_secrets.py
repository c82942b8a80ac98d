"""The secrets of a user: texts by key, and what may be stored (reference/wire.md 2.14, 3.7)."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Final

LONGEST_OWNER: Final = 60
LONGEST_KEY: Final = 256
LARGEST_VALUE: Final = 1_400_000
"""Characters: panda-client takes files of 1,000 kB, and base64 makes a third more of them."""
LARGEST: Final = 8_000_000
"""Characters of all that an owner has: it goes out with each job that uses secrets."""
_FILE: Final = "___file___:"
"""What panda-client puts before the key of a file."""


def read(data: str) -> dict[str, Any]:
    """What is stored, by key; nothing of what is no JSON object."""
    try:
        found = json.loads(data) if data else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def fault_of(key: str, value: str | None) -> tuple[str, str] | None:
    """Which of the two cannot be stored, and why."""
    if not key:
        return "key", "must not be empty"
    if len(key) > LONGEST_KEY:
        return "key", f"must be at most {LONGEST_KEY} characters"
    if value is not None and len(value) > LARGEST_VALUE:
        return "value", f"must be at most {LARGEST_VALUE} characters"
    return None


def changed(data: str, key: str | None, value: str | None) -> str:
    """What is to be stored instead: without a key nothing, without a value all but that key, a file's too."""
    if key is None:
        return "{}"
    found = read(data)
    if value is not None:
        found[key] = value
    elif key in found:
        del found[key]
    else:
        found.pop(f"{_FILE}{key}", None)
    return json.dumps(found)


def chosen(data: str, keys: Collection[str]) -> dict[str, Any]:
    """Those of the keys that are there, all without any."""
    found = read(data)
    return {key: value for key, value in found.items() if key in keys} if keys else found
