"""The last known keys of token issuers, in a file of the state directory: a restart while an issuer is away must not
turn its pilots away."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from attrs import frozen

from pandatx.store.folders import replace

_MODE: Final = 0o600


@frozen(kw_only=True)
class KeptKeys:
    """An issuer's own name, its JWKS byte for byte as Latin-1, and when it said so."""

    issuer: str
    jwks: str
    read_at: datetime


def read(path: Path) -> dict[str, KeptKeys]:
    """By discovery document; nothing of a file that is not there or cannot be read. It blocks."""
    try:
        document = json.loads(path.read_bytes())
        return {
            url: KeptKeys(issuer=issuer, jwks=jwks, read_at=datetime.fromtimestamp(read_at, UTC))
            for url, (issuer, jwks, read_at) in document.items()
            if isinstance(issuer, str) and isinstance(jwks, str)
        }
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return {}


def write(path: Path, kept: Mapping[str, KeptKeys]) -> None:
    """Replace the file. It blocks. Raises OSError."""
    document = {url: (each.issuer, each.jwks, each.read_at.timestamp()) for url, each in kept.items()}
    replace(path, (json.dumps(document).encode(),), _MODE)
