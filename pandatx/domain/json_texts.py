"""JSON as Python's writers emit it."""

from __future__ import annotations

import json
from typing import Any

import orjson


def read_json(text: bytes | str) -> Any:
    """Any JSON; where the strict reader fails, NaN too, and halves of surrogate pairs, which become question marks.

    Raises ValueError with what the strict reader has to say.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as fault:
        why = str(fault)
    try:
        return _scrubbed(json.loads(text))
    except (ValueError, RecursionError):
        raise ValueError(why) from None


def _scrubbed(value: Any) -> Any:
    """The value with every half of a surrogate pair replaced: no UTF-8 can hold it."""
    if type(value) is str:
        return value.encode("utf-8", "replace").decode()
    if type(value) is list:
        return [_scrubbed(each) for each in value]
    if type(value) is dict:
        return {_scrubbed(name): _scrubbed(each) for name, each in value.items()}
    return value
