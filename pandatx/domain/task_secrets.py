"""What of a task's parameters others must not read."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

from pandatx.domain.caller import Caller

HIDDEN: Final = "***"
# Bounded, so that a long text of a user takes no time that grows with its square.
_KIND: Final = "passw(?:or)?d|passphrase|secret|token|credential|private_?key|api_?key|authori[sz]ation"
_WORD: Final = rf"(?:\w[\w.-]{{0,64}})??(?:{_KIND})[\w.-]{{0,64}}"
_START: Final = r"(?:(?<![\w%.-])|(?<=%[0-9A-Fa-f]{2}))-{0,2}"
_VALUE: Final = r"('[^']*'|\"[^\"]*\"|[^\s,;&)}%]+)"
_NAME: Final = re.compile(_WORD, re.IGNORECASE)
# Of these names only flags and settings are known, which are no secrets.
_HARMLESS: Final = frozenset(("usesecrets", "nosecrets", "tokens_per_job"))
_VALUES: Final = (
    (re.compile(r"\b(bearer\s+)[^\s'\",;]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    # PASSWORD=X, "token": "X", also where the text is URL-quoted; then --password X
    (re.compile(rf"({_START}{_WORD}['\"]?(?:\s*[=:]\s*|%3D)){_VALUE}", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(rf"((?<!\S)--?{_WORD}\s+)(?!-){_VALUE}", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?"), HIDDEN),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), HIDDEN),
)
# Nothing of the above is in a text that has none of these: most have none, and to look for them takes no time.
_SIGNS: Final = (
    *("passw", "passphrase", "secret", "token", "credential", "private", "apikey", "api_key", "authori", "bearer"),
    *("eyj", "-----begin"),
)
LONGEST: Final = 32_000
"""Characters of a text that is searched; one search holds up everything else in the process for so long."""
T = TypeVar("T")


def may_read(caller: Caller, owner: str | None) -> bool:
    """Whether a caller may read the secrets in what belongs to an owner; nobody may by a limited proxy (R29)."""
    return caller.secure and (caller.production or (caller.name != "" and caller.name == owner))


def shown(value: T) -> T:
    """The value with what looks like a password, a token or a key made unreadable, however deep it stands.

    Of a longer text than ``LONGEST`` in which there may be one, nothing is left.
    """
    return _shown(value)  # type: ignore[no-any-return]


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        folded = value.casefold()
        if not any(sign in folded for sign in _SIGNS):
            return value
        if len(value) > LONGEST:
            return HIDDEN
        for pattern, instead in _VALUES:
            value = pattern.sub(instead, value)
        return value
    if isinstance(value, dict):
        return {name: HIDDEN if _is_secret(name, each) else _shown(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_shown(each) for each in value]
    return value


def _is_secret(name: Any, value: Any) -> bool:
    """A text, or anything with texts in it, under the name of a secret."""
    if not isinstance(name, str) or name.lower() in _HARMLESS or not _NAME.fullmatch(name):
        return False
    return bool(value) and not isinstance(value, bool | int | float)
