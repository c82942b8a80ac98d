"""Which plugin serves which VO: the entries of adder_plugins and setupper_plugins, read strictly (R37)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal

from attrs import frozen

from pandatx.errors import EXIT_CONFIGURATION, StartFault

Role = Literal["setupper", "adder"]
Entry = tuple[tuple[str, ...], str, str | None]
CHECK_LIMIT = 30.0

_CLASSES: Final[dict[Role, str]] = {"setupper": "Setupper", "adder": "Adder"}
_OURS: Final = ("dummy", "local")
_RUCIO: Final = "rucio"


def _shipped_names() -> dict[str, str]:
    """The older server's spellings of its plugins, each with the module here that stands for it."""
    names = {}
    for folder in ("dataservice.", "pandaserver.dataservice."):
        for role in _CLASSES.values():
            for flavour, module in (("Dummy", "dummy"), ("Simple", _RUCIO), ("Atlas", _RUCIO)):
                old = f"{role}{flavour}Plugin"
                new = f"{role.lower()}_{flavour.lower()}_plugin"
                names[f"{folder}{old}:{old}"] = module
                names[f"{folder}{new}:{old}"] = module
    return names


SHIPPED: Final = _shipped_names()


class PluginFaults(StartFault):
    """Entries that name no plugin; ``faults`` has a line for each."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__(EXIT_CONFIGURATION, "; ".join(faults))
        self.faults = faults


@frozen
class Registry:
    """Plugin targets "module:Class" by VO, or by VO_group."""

    _targets: Mapping[str, str]
    _default: str

    def for_vo(self, vo: str | None, group: str | None = None) -> str:
        """The plugin of a VO and group, else of the VO, else of ``any``; the dummy where nothing is configured."""
        for key in (f"{vo}_{group}" if group else None, vo, "any"):
            if key is not None and key in self._targets:
                return self._targets[key]
        return self._default


def fault_in_a_child(role: Role, target: str) -> str | None:
    """Why a class is no plugin, found in a short process: its imports may be heavy. Call it before the reactor runs."""
    command = [sys.executable, "-P", "-m", "pandatx.plugins.run", role, target]
    try:
        check = subprocess.run(command, capture_output=True, text=True, timeout=CHECK_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return f"it could not be loaded within {CHECK_LIMIT:g} s"
    if check.returncode:
        return check.stderr.strip().rpartition("\n")[2] or f"its module ended Python with code {check.returncode}"
    return check.stdout.rpartition("\n")[2] or None


def resolve(
    entries: Iterable[Entry], role: Role, check: Callable[[Role, str], str | None] = fault_in_a_child
) -> Registry:
    """The plugins of a role. Raises PluginFaults, all at once, each naming its VO.

    An entry is (VOs, "module:Class", group or None); the module ``dummy`` or ``local`` of our own may stand for its
    class, as in ``any:pandatx.plugins.local:Adder``.
    """
    targets: dict[str, str] = {}
    faults = []
    for vos, written, group in entries:
        target, fault = _target(role, written, check)
        if fault:
            faults.append(f"{role} plugin of VO {'|'.join(vos)}: {written}: {fault}")
        for vo in vos:
            # The first entry for a VO counts.
            targets.setdefault(f"{vo}_{group}" if group else vo, target)
    if faults:
        raise PluginFaults(tuple(faults))
    return Registry(targets, _own("dummy", role))


def _target(role: Role, written: str, check: Callable[[Role, str], str | None]) -> tuple[str, str | None]:
    if any(written == _own(module, role) for module in _OURS):
        return written, None
    shipped = SHIPPED.get(written)
    if shipped and _CLASSES[role] not in written:
        return written, f"this is not a plugin of the {role}"
    if shipped == _RUCIO:
        return written, "it needs Rucio, whose plugin comes with the extra pandatx[rucio] in a later version"
    if shipped:
        return _own(shipped, role), None
    return written, check(role, written)


def _own(module: str, role: Role) -> str:
    return f"pandatx.plugins.{module}:{_CLASSES[role]}"
