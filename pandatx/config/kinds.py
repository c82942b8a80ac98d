"""What a value may be: from the text of a file, a JSON value or an environment variable to a Python value."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from attrs import frozen

from pandatx.domain.retention import KEPT

MIB = 1024 * 1024


@frozen
class Kind:
    """How one sort of value is read. ``read`` takes the text and the folder that relative paths start from.

    It raises ValueError with what is wrong, in words that follow the key's name. ``scale`` turns the unit of the
    file into that of the program.
    """

    name: str
    read: Callable[[str, Path], Any]
    scale: int = 1


class PluginEntry(NamedTuple):
    """One item of adder_plugins or setupper_plugins, as written; what it means is plugins/registry.py."""

    vos: tuple[str, ...]
    target: str
    group: str | None = None


def plain(value: object) -> str:
    """A value of a JSON file as an INI file would have it."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    return str(value).strip()


def masked_url(text: str) -> str:
    """The text without the user and password that a URL in it may carry."""
    return re.sub(r"//[^/@\s\"]+@", "//***@", text)


def _yes_no(value: str, base: Path) -> bool:
    match value.lower():
        case "true" | "1":
            return True
        case "false" | "0":
            return False
    raise ValueError(f'"{value}" is neither True nor False')


def whole(low: int = 0, high: int | None = None, scale: int = 1) -> Kind:
    """A whole number within limits; ``scale`` turns the unit of the file into that of the program."""

    def read(value: str, base: Path) -> int:
        if not re.fullmatch(r"-?[0-9]+", value):
            raise ValueError(f'"{value}" is not a whole number')
        if int(value) < low or (high is not None and int(value) > high):
            raise ValueError(f"{value} is not {'at least' if high is None else 'between'} {_span(low, high)}")
        return int(value) * scale

    return Kind("whole number", read, scale)


def _span(low: int, high: int | None) -> str:
    return str(low) if high is None else f"{low} and {high}"


def _seconds(value: str, base: Path) -> float:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", value) or float(value) == 0:
        raise ValueError(f'"{value}" is not a number of seconds above 0')
    return float(value)


def choice(*options: str) -> Kind:
    """One of some words, in any case."""

    def read(value: str, base: Path) -> str:
        if value.lower() not in options:
            raise ValueError(f'"{value}" is not one of {", ".join(options)}')
        return value.lower()

    return Kind(" or ".join(options), read)


def _log_level(value: str, base: Path) -> str:
    level = {"warning": "warn", "fatal": "critical"}.get(value.lower(), value.lower())
    if level not in {"debug", "info", "warn", "error", "critical"}:
        raise ValueError(f'"{value}" is not one of debug, info, warn, error, critical')
    return level


def _backend(value: str, base: Path) -> str:
    if value.lower() not in {"postgres", "postgresql"}:
        raise ValueError(
            f'"{value}" is not supported: pandatx keeps everything in PostgreSQL; set "backend = postgres"'
            " with a PostgreSQL database, or leave the key out"
        )
    return "postgres"


def _schema(value: str, base: Path) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", value):
        raise ValueError(f'"{value}" is not the name of a schema')
    return value.lower()


def _path(value: str, base: Path) -> Path:
    try:
        return base / Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError(f'"{value}" names an unknown home folder') from error


def comma_separated(value: str) -> tuple[str, ...]:
    """The items of a comma separated text, without blanks around them and without empty ones."""
    return tuple(item for item in (part.strip() for part in value.split(",")) if item)


def _roles(value: str, base: Path) -> frozenset[str]:
    return roles_of(value)


def roles_of(text: str) -> frozenset[str]:
    """The roles named in a comma separated text (rule R33); raises ValueError."""
    roles = frozenset(comma_separated(text.lower()))
    if not roles or roles - {"http", "daemon"}:
        raise ValueError(f'"{text}" is not a list of the roles http and daemon')
    return roles


def _address(value: str, base: Path) -> tuple[str, int]:
    host, _, number = value.rpartition(":")
    if not number.isascii() or not number.isdecimal() or int(number) > 65535:
        raise ValueError(f'"{value}" is not an address in the form host:port')
    return host.strip("[]") or "127.0.0.1", int(number)


def _networks(value: str, base: Path) -> tuple[str, ...]:
    items = comma_separated(value)
    for item in items:
        try:
            ipaddress.ip_network(item, strict=False)
        except ValueError as error:
            raise ValueError(f'"{item}" is neither an IP address nor a network') from error
    return items


def json_object(value: str) -> dict[str, Any]:
    """The JSON object that the text is; raises ValueError saying where it stops being one."""
    try:
        document = json.loads(value)
    except json.JSONDecodeError as error:
        lines = value.splitlines() or [""]
        near = lines[min(error.lineno, len(lines)) - 1].strip()[:60]
        raise ValueError(f"not JSON: {error.msg} in line {error.lineno} of the value, near {near!r}") from error
    except RecursionError as error:
        raise ValueError("not JSON that can be read: it is nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    return document


def _storage(value: str, base: Path) -> dict[str, str]:
    document = json_object(value)
    for name, folder in document.items():
        if not isinstance(folder, str) or not folder.startswith("/"):
            raise ValueError(f'the folder of "{name}" is not an absolute path')
    return document


def _retention(value: str, base: Path) -> dict[str, int]:
    document = json_object(value)
    for table, days in document.items():
        if table not in KEPT:
            raise ValueError(f'"{table}" is no table that rows are dropped from: {", ".join(sorted(KEPT))}')
        if not isinstance(days, int) or isinstance(days, bool) or days < 1:
            raise ValueError(f'the days of "{table}" are not a whole number from 1 on')
    return document


def _handlers(value: str, base: Path) -> dict[str, str]:
    document = json_object(value)
    for kind, target in document.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", kind) or kind in ("grep", "sleep_echo"):
            raise ValueError(f'"{kind}" is no type of request that can have another handler')
        if not isinstance(target, str) or not re.fullmatch(r"[\w.]+:[\w.]+", target):
            raise ValueError(f'the handler of "{kind}" is not of the form package.module:function')
    return document


ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""What tokens may be signed by: only what is verified with a public key."""


def _algorithms(value: str, base: Path) -> tuple[str, ...]:
    items = comma_separated(value)
    for item in items:
        if item not in ALGORITHMS:
            raise ValueError(f'"{item}" is not one of {", ".join(ALGORITHMS)}')
    return items


def _patterns(value: str, base: Path) -> tuple[str, ...]:
    items = comma_separated(value)
    for item in items:
        try:
            re.compile(item)
        except re.error as error:
            raise ValueError(f'"{item}" is no regular expression: {error}') from error
    return items


def _plugins(value: str, base: Path) -> tuple[PluginEntry, ...]:
    entries, wrong = [], []
    for item in comma_separated(value):
        vos, *rest = [part.strip() for part in item.split(":")]
        names = tuple(name.strip() for name in vos.split("|") if name.strip())
        if not names or len(rest) not in (2, 3) or not all(re.fullmatch(r"[\w.*-]+", part) for part in rest):
            wrong.append(f'VO {"|".join(names) or "(none)"}: "{item}" is not of the form VO(|VO2):module:class(:group)')
        else:
            entries.append(PluginEntry(names, f"{rest[0]}:{rest[1]}", rest[2] if len(rest) == 3 else None))
    if wrong:
        raise ValueError("; ".join(wrong))
    return tuple(entries)


TEXT = Kind("text", lambda value, base: value)
URL = Kind("URL or path", lambda value, base: value)
PATH = Kind("path", _path)
YES_NO = Kind("True or False", _yes_no)
SECONDS = Kind("seconds", _seconds)
PORT = whole(0, 65535)
LIST = Kind("comma list", lambda value, base: comma_separated(value))
NETWORKS = Kind("comma list of addresses or networks", _networks)
ADDRESS = Kind("host:port", _address)
ROLES = Kind("comma list of http, daemon", _roles)
SCHEMA = Kind("name", _schema)
LOG_LEVEL = Kind("debug, info, warn, error or critical", _log_level)
BACKEND = Kind("postgres", _backend)
STORAGE = Kind("JSON object", _storage)
RETENTION = Kind("JSON object", _retention)
HANDLERS = Kind("JSON object", _handlers)
SIGNATURES = Kind("comma list of algorithms", _algorithms)
PATTERNS = Kind("comma list of regular expressions", _patterns)
JSON = Kind("JSON object", lambda value, base: json_object(value))
PLUGINS = Kind("comma list of VO:module:class", _plugins)


def shown(value: object) -> str:
    """A value in force as one line of text."""
    match value:
        case frozenset():
            return ", ".join(sorted(value))
        case (str() as host, int() as number):
            return f"{host}:{number}"
        case PluginEntry():
            return ":".join(["|".join(value.vos), value.target, *([value.group] if value.group else [])])
        case tuple():
            return ", ".join(shown(item) for item in value)
        case dict():
            return masked_url(json.dumps(value))
    return masked_url(str(value))
