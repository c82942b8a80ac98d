"""Asking the served tree in both dialects, as clients do."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from real import Real
from sites import USER, Got

from pandatx.domain.caller import Caller

JSON, FORM = "application/json", "application/x-www-form-urlencoded"


async def get(real: Real, path: str, caller: Caller = USER, **values: Any) -> Got:
    """A GET on REST as panda-client makes it: lists are repeated keys, None and truths are Python's texts."""
    real.caller = caller
    return await real.ask("GET", f"/api/v1/{path}?{urlencode(values, doseq=True)}", accept=JSON, content_type=JSON)


async def post(real: Real, path: str, caller: Caller = USER, **values: Any) -> Got:
    """A POST on REST."""
    real.caller = caller
    body = json.dumps(values).encode()
    return await real.ask("POST", f"/api/v1/{path}", body, accept=JSON, content_type=JSON)


async def old(real: Real, name: str, caller: Caller = USER, *, accept: str | None = JSON, **values: Any) -> Got:
    """A form in the older dialect."""
    real.caller = caller
    headers = {"content_type": FORM} | ({} if accept is None else {"accept": accept})
    return await real.ask("POST", f"/server/panda/{name}", urlencode(values, doseq=True).encode(), **headers)
