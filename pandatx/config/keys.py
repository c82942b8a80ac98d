"""A key is declared once, at the field that holds it; reading, checking and the documents derive from that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import attrs
from attrs import frozen

from pandatx.config.kinds import TEXT, URL, Kind, shown

ENVIRONMENT = "environment"


class Lookup(Protocol):
    """The value in force of another key."""

    def __call__(self, section: str, name: str) -> Any: ...


@frozen
class Derived:
    """A default that depends on other keys or on the environment; ``text`` says on what."""

    text: str
    of: Callable[[Lookup, Mapping[str, str]], Any]


@frozen(kw_only=True)
class Key:
    """One key of a configuration file, or with the section ``environment`` a variable."""

    section: str
    name: str
    kind: Kind
    default: Any
    doc: str
    unit: str = ""
    secret: bool = False

    def __str__(self) -> str:
        return self.name if self.section == ENVIRONMENT else f"[{self.section}] {self.name}"

    @property
    def default_text(self) -> str:
        """What holds when the key is absent, in words."""
        if isinstance(self.default, Derived):
            return self.default.text
        return self.shown(self.default)

    def shown(self, value: Any) -> str:
        """A value of this key as text, in the unit of the file; a secret is masked."""
        if value in ("", (), {}):
            return "empty"
        if self.secret:
            return "********"
        return shown(value // self.kind.scale if self.kind.scale > 1 else value)


def _masked(value: object) -> str:
    return "None" if value is None else repr(shown(value))


def setting(
    place: str, kind: Kind = TEXT, default: Any = None, doc: str = "", *, unit: str = "", secret: bool = False
) -> Any:
    """A field that holds the key at ``place``, "section.name" (or "environment.NAME")."""
    section, _, name = place.partition(".")
    key = Key(section=section, name=name, kind=kind, default=default, doc=doc, unit=unit, secret=secret)
    show: Any = False if secret else _masked if kind is URL else True
    if isinstance(default, Derived):
        return attrs.field(repr=show, metadata={"key": key})
    return attrs.field(default=default, repr=show, metadata={"key": key})


def keys_of(settings: type[Any]) -> Iterator[tuple[str, Key]]:
    """The keys that a settings class declares, with the names of their fields."""
    for one in attrs.fields(settings):
        if "key" in one.metadata:
            yield one.name, one.metadata["key"]
