"""Changing split rules: which of them may change, and the text after that (reference/lifecycle.md 7.4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from pandatx.domain.split_rules import NAMES
from pandatx.errors import BadRequest

_TAGS: Final = {name: tag for tag, name in NAMES.items()}
CHANGEABLE: Final[Mapping[str, str]] = {
    name: _TAGS[name]
    for name in (
        *("allowIncompleteInDS", "t1Weight", "nEsConsumers", "nMaxFilesPerJob", "nGBPerJob", "noInputPooling"),
        *("nFilesPerJob", "nEventsPerWorker", "nJumboJobs", "avoidVP", "allowInputLAN", "useLocalIO"),
        *("noLoopingCheck", "maxCoreCount", "onlyTagsForFC", "useZipToPin", "ignoreMissingInDS", "noAutoPause"),
    )
}
"""Parameters of a task that may be changed while it lives, and their tags."""
LONGEST: Final = 200
CLONING: Final[Mapping[str, str]] = {"runonce": "1", "storeonce": "2"}
_VALUE: Final = re.compile(r"[^,=\s]*")
_NOTHING: Final = (None, "", "None")


def changed(rules: str | None, changes: Mapping[str, object]) -> str:
    """The rules with some tags given other values; a blank value, or None, removes the tag.

    Raises BadRequest for a value that would be read as more than one, and for more than the column holds.
    """
    kept = [rule for rule in (rules or "").split(",") if rule and rule.partition("=")[0] not in changes]
    for tag, value in changes.items():
        if not _VALUE.fullmatch("" if value is None else str(value)):
            raise BadRequest("value", "has a comma, an equals sign or white space")
        if value not in _NOTHING:
            kept.append(f"{tag}={value}")
    text = ",".join(kept)
    if len(text) > LONGEST:
        raise BadRequest("value", f"makes the split rules longer than {LONGEST} characters")
    return text
