"""Where configuration stands, and what stands there: files in their order to raw entries with their places."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from configparser import ConfigParser, MissingSectionHeaderError, ParsingError
from pathlib import Path

from attrs import Factory, define, frozen

from pandatx.config.kinds import json_object, plain

SERVER, COMMON = "panda_server.cfg", "panda_common.cfg"

_FORM = "neither [section] nor key = value; lines of the value above must be indented"


@frozen
class Entry:
    """A raw value and where it stands; relative paths in it start from ``base``."""

    text: str
    where: str
    base: Path


@define
class Sources:
    """All that was read. A later file's key takes the place of an earlier one's."""

    entries: dict[tuple[str, str], Entry] = Factory(dict)
    files: list[Path] = Factory(list)
    faults: list[str] = Factory(list)

    def add_ini(self, path: Path) -> None:
        """Read an INI file; what is wrong with its form becomes faults, the rest is read all the same."""
        if (text := self._text_of(path)) is None:
            return
        parser = _Ini(str(path))
        self.faults.extend(parser.read_text(text))
        for section in parser.sections():
            for name, value in parser.items(section):
                line = parser.line_of(section, name)
                self.entries[section, name] = Entry(value.strip(), f"{path}:{line}", path.parent.absolute())

    def add_json(self, path: Path) -> None:
        """Read a JSON object of sections, as Helm mounts one."""
        if (text := self._text_of(path)) is None:
            return
        try:
            document = json_object(text)
        except ValueError as error:
            self.faults.append(f"{path}: {error}")
            return
        for section, values in document.items():
            if not isinstance(values, dict):
                self.faults.append(f"{path}: {section} is not a JSON object of keys")
                continue
            for name, value in values.items():
                where = f"{path}:{_line_in_json(text, section, name)}"
                self.entries[section, name] = Entry(plain(value), where, path.parent.absolute())

    def _text_of(self, path: Path) -> str | None:
        try:
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            self.faults.append(f"{path}: cannot be read: {error.strerror}")
        except UnicodeDecodeError as error:
            self.faults.append(f"{path}: not UTF-8 at byte {error.start}")
        else:
            self.files.append(path)
            return text
        return None


def read(path: Path | None, environ: Mapping[str, str]) -> Sources:
    """Read ``path`` and the files that go with it, or without ``path`` those of the search order (rule R31)."""
    sources = Sources()
    if path is None:
        for name in (SERVER, COMMON):
            for candidate in search_order(name, environ):
                if _there(candidate):
                    sources.add_ini(candidate)
    else:
        sources.add_ini(path)
        if _there(common := path.parent / COMMON):
            sources.add_ini(common)
    if home := environ.get("PANDA_HOME"):
        mounted = Path(home, "etc", "config_json", "panda_server_config.json")
        if _there(mounted):
            sources.add_json(mounted)
    return sources


def _there(path: Path) -> bool:
    """Whether there is such a file; what lies in a folder closed to us is not."""
    try:
        return path.exists()
    except PermissionError:
        return False


def search_order(name: str, environ: Mapping[str, str]) -> list[Path]:
    """Where a file of this name is looked for; a later one overrides keys of an earlier one (lifecycle.md 5.1)."""
    places = [Path("/etc/panda"), Path("/usr/etc/panda")]
    if user_home := environ.get("HOME"):
        places.append(Path(user_home, "etc", "panda"))
    if panda_home := environ.get("PANDA_HOME"):
        places += [Path(panda_home, "etc", "panda"), Path(panda_home, "usr", "etc", "panda")]
    return [place / name for place in places]


class _Ini(ConfigParser):
    """A ConfigParser that keeps the case of keys and the lines they stand on."""

    def __init__(self, name: str) -> None:
        super().__init__(interpolation=None, strict=False)
        self._name = name
        self._at = 0
        self._section = ""
        self._lines: dict[tuple[str, str], int] = {}
        self._twice: list[str] = []
        self._reading = False
        self.SECTCRE = _Headers(self)  # type: ignore[assignment]

    def read_text(self, text: str) -> list[str]:
        """Read all of a file; the faults of its form."""
        self._reading = True
        try:
            self.read_file(self._counted(text), self._name)
        except MissingSectionHeaderError as error:
            return [f"{self._name}:{error.lineno}: stands before the first [section]"]
        except ParsingError as error:
            wrong = [f"{self._name}:{line}: {_FORM}" for line, _ in error.errors]
            return self._twice + wrong
        finally:
            self._reading = False
        return self._twice

    def _counted(self, text: str) -> Iterator[str]:
        for self._at, line in enumerate(text.splitlines(keepends=True), 1):
            yield line

    def optionxform(self, optionstr: str) -> str:
        """Called for each key as it is read, and by look-ups later."""
        if self._reading:
            place = (self._section, optionstr)
            if place in self._lines:
                key = f"[{self._section}] {optionstr}"
                self._twice.append(f"{self._name}:{self._at}: {key} stands in line {self._lines[place]} already")
            self._lines[place] = self._at
        return optionstr

    def section_begins(self, name: str) -> None:
        self._section = name

    def line_of(self, section: str, name: str) -> int:
        """The line of a key of this section, or of [DEFAULT] that it comes from."""
        return self._lines.get((section, name)) or self._lines.get((self.default_section, name), 0)


@frozen
class _Headers:
    """Stands in for the pattern of section headers, to tell the parser's other half which section begins."""

    _ini: _Ini

    def match(self, text: str) -> re.Match[str] | None:
        found = ConfigParser.SECTCRE.match(text)
        if found:
            self._ini.section_begins(found.group("header"))
        return found


def _line_in_json(text: str, section: str, name: str) -> int:
    """The line that names the key first after its section."""
    start = max(text.find(json.dumps(section)), 0)
    place = text.find(json.dumps(name), start + 1)
    return text.count("\n", 0, max(place, 0)) + 1
