"""The configuration as one value: every setting in force, where it came from, and what is worth a warning."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import attrs
from attrs import Factory, define, evolve, frozen

from pandatx.config.daemons import with_entries
from pandatx.config.faults import ConfigurationFaults
from pandatx.config.keys import ENVIRONMENT, Derived, Key, keys_of
from pandatx.config.known import VARIABLES, of_the_older_server
from pandatx.config.messaging import MessagingSettings
from pandatx.config.outside import OutsideSettings
from pandatx.config.reader import SERVER, Entry, Sources, read, search_order
from pandatx.config.sections import (
    SETTINGS,
    DaemonSettings,
    DatabaseSettings,
    FileSettings,
    HttpSettings,
    IdentitySettings,
    JobSettings,
    OpsSettings,
    ProcessSettings,
    Schemas,
)


class Origin(NamedTuple):
    """A value in force as text, secrets masked, and where it came from."""

    value: str
    where: str


@frozen(kw_only=True)
class Config:
    """All settings. ``origins`` is by key, as "[server] dbhost" or the name of a variable."""

    database: DatabaseSettings
    http: HttpSettings
    identity: IdentitySettings
    files: FileSettings
    jobs: JobSettings
    daemon: DaemonSettings
    ops: OpsSettings
    process: ProcessSettings
    outside: OutsideSettings
    messaging: MessagingSettings
    origins: Mapping[str, Origin] = attrs.field(factory=dict, repr=False)
    warnings: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()

    @classmethod
    def for_tests(cls, state_dir: Path, **overrides: Mapping[str, Any]) -> Config:
        """Everything below ``state_dir``, free ports. ``overrides``: fields by part, as http={"https_port": 1}."""
        folders = {
            ("pandatx", "state_dir"): state_dir,
            ("server", "logdir"): state_dir / "log",
            ("server", "cache_dir"): state_dir / "cache",
            ("server", "schedconfig_cache_dir"): state_dir / "schedconfig",
            ("server", "auth_config"): state_dir / "auth",
            ("pandatx", "trf_dir"): state_dir / "trf",
            ("pandatx", "cric_dir"): state_dir / "cric",
            ("pandatx", "ca_dir"): state_dir / "ca",
            ("pandatx", "vomsdir"): state_dir / "vomsdir",
            ("pandatx", "host_cert"): state_dir / "hostcert.pem",
            ("pandatx", "host_key"): state_dir / "hostkey.pem",
            ("server", "token_cache_config"): state_dir / "token_cache_config.json",
            ("server", "keyDir"): state_dir / "keys",
            ("server", "pilot_cache_dir"): state_dir / "pilots",
        }
        values = {key: str(path) for key, path in folders.items()}
        values["server", "pserverhost"] = "localhost"
        values["pandatx", "metrics_address"] = "127.0.0.1:0"
        sources = Sources({key: Entry(text, "test", state_dir) for key, text in values.items()})
        config = _assemble(sources, {"PANDA_SERVER_CONF_PORT": "0", "PANDA_SERVER_CONF_PORT_SSL": "0"})
        changed = {part: evolve(getattr(config, part), **changes) for part, changes in overrides.items()}
        return evolve(config, **changed)


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read the configuration of ``path``, or without it of the usual places (rule R31, lifecycle.md 5.1).

    Raises ConfigurationFaults with every fault there is.
    """
    sources = read(path, environ)
    config = _assemble(sources, environ)
    if path is None and not any(found.name == SERVER for found in sources.files):
        places = ", ".join(str(place) for place in search_order(SERVER, environ))
        config = evolve(config, warnings=(f"no {SERVER} found, defaults hold; looked for {places}", *config.warnings))
    return config


def declared() -> Iterator[Key]:
    """Every key that this server uses, each once, in the order of the settings classes."""
    seen = set()
    classes: list[type[Any]] = [Schemas, *SETTINGS.values()]
    for settings in classes:
        for _, key in keys_of(settings):
            if (place := (key.section, key.name)) not in seen:
                seen.add(place)
                yield key


def _assemble(sources: Sources, environ: Mapping[str, str]) -> Config:
    values = _Values(sources.entries, environ, {(key.section, key.name): key for key in declared()})
    schemas = Schemas(**values.of_class(Schemas))
    parts: dict[str, Any] = {name: values.of_class(settings) for name, settings in SETTINGS.items()}
    parts["database"]["schemas"] = schemas
    if faults := [*sources.faults, *values.faults, *_ports_wanted_twice(values)]:
        raise ConfigurationFaults(faults)
    parts = {name: SETTINGS[name](**fields) for name, fields in parts.items()}
    parts["database"] = _enough_connections(parts["database"], values.origins)
    parts["daemon"], daemon_warnings = with_entries(parts["daemon"])
    where = values.origins["[daemon] config"].where
    values.origins["[daemon] config"] = Origin(f"{len(parts['daemon'].document)} entries", where)
    warnings = [*_unused(sources, environ), *(f"{where}: {warning}" for warning in daemon_warnings)]
    if parts["messaging"].host is not None and parts["messaging"].destination is None:
        warnings.append("[pandatx] messages_host is set but messages_destination is not: no messages will be taken")
    if parts["ops"].manhole_port is not None and parts["ops"].manhole_keys is None:
        warnings.append("[pandatx] manhole_port is set but manhole_keys is not: there will be no manhole")
    return Config(**parts, origins=values.origins, warnings=tuple(warnings), paths=tuple(sources.files))


@define
class _Values:
    """Looks keys up, each once, and gathers faults and origins on the way."""

    _entries: Mapping[tuple[str, str], Entry]
    _environ: Mapping[str, str]
    _keys: Mapping[tuple[str, str], Key]
    _found: dict[tuple[str, str], Any] = Factory(dict)
    faults: list[str] = Factory(list)
    origins: dict[str, Origin] = Factory(dict)

    def of_class(self, settings: type[Any]) -> dict[str, Any]:
        return {field: self(key.section, key.name) for field, key in keys_of(settings)}

    def key(self, section: str, name: str) -> Key:
        return self._keys[section, name]

    def __call__(self, section: str, name: str) -> Any:
        if (section, name) not in self._found:
            key = self._keys[section, name]
            value, where = self._look_up(key)
            self._found[section, name] = value
            self.origins[str(key)] = Origin(f"{key.shown(value)} {key.unit}".rstrip(), where)
        return self._found[section, name]

    def _look_up(self, key: Key) -> tuple[Any, str]:
        entry = self._entry_of(key)
        if entry is None:
            return self._default(key)
        text, where = entry.text, entry.where
        if variable := re.fullmatch(r"\$(?:(\w+)|\{(\w+)\})", text):
            name = variable[1] or variable[2]
            if name not in self._environ:
                lacking = "variable of the name that it gives" if key.secret else name
                self.faults.append(f"{where}: {_at(key)}the environment has no {lacking}")
                return self._default(key)
            text, where = self._environ[name], f"{where}, ${name}"
        if text in ("", "None"):
            return self._default(key)[0], where
        try:
            return key.kind.read(text, entry.base), where
        except ValueError as error:
            self.faults.append(f"{where}: {_at(key)}{error}")
            return self._default(key)

    def _entry_of(self, key: Key) -> Entry | None:
        if key.section != ENVIRONMENT:
            return self._entries.get((key.section, key.name))
        if key.name not in self._environ:
            return None
        return Entry(self._environ[key.name].strip(), f"environment {key.name}", Path.cwd())

    def _default(self, key: Key) -> tuple[Any, str]:
        if isinstance(key.default, Derived):
            return key.default.of(self, self._environ), f"default: {key.default.text}"
        return key.default, "default"


def _at(key: Key) -> str:
    return "" if key.section == ENVIRONMENT else f"{key}: "


def _ports_wanted_twice(values: _Values) -> Iterator[str]:
    wanted: dict[int, str] = {}
    for place, listed in (
        ((ENVIRONMENT, "PANDA_SERVER_CONF_PORT"), ("server", "pserverporthttp")),
        ((ENVIRONMENT, "PANDA_SERVER_CONF_PORT_SSL"), ("server", "pserverport")),
        (("pandatx", "cache_port"), ("pandatx", "cache_port")),
    ):
        port = values(*place)
        key = str(values.key(*place))
        if values.origins[key].where.startswith("default"):
            key = str(values.key(*listed))
        where = f"{key} ({values.origins[key].where})"
        if port and wanted.setdefault(port, where) != where:
            yield f"port {port} is wanted twice, by {wanted[port]} and by {where}"


def _enough_connections(database: DatabaseSettings, origins: dict[str, Origin]) -> DatabaseSettings:
    database = evolve(database, port=database.port or 5432)
    if database.pool >= database.pool_wanted:
        return database
    origin = Origin(str(database.pool_wanted), f"raised to nDBConnection, {origins['[server] nDBConnection'].where}")
    origins["[pandatx] db_pool"] = origin
    return evolve(database, pool=database.pool_wanted)


def _unused(sources: Sources, environ: Mapping[str, str]) -> Iterator[str]:
    """One warning per unknown key; the older server's keys in one for each section."""
    keys = {(key.section, key.name) for key in declared()}
    older: dict[str, list[str]] = {}
    for (section, name), entry in sources.entries.items():
        if (section, name) in keys:
            continue
        if of_the_older_server(section, name):
            older.setdefault(section, []).append(f"{name} ({entry.where})")
            continue
        like = difflib.get_close_matches(name, [known for at, known in keys if at == section], n=1)
        hint = f'; did you mean "{like[0]}"?' if like else ""
        yield f"{entry.where}: [{section}] {name} is not known; nothing reads it{hint}"
    for section, names in older.items():
        yield f"[{section}]: the older server's, not used here, no harm: {', '.join(names)}"
    if variables := sorted(VARIABLES & set(environ)):
        yield f"environment: the older server's, not used here, no harm: {', '.join(variables)}"
