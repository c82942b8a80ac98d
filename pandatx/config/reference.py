"""The documents that are made from the declarations: the example files and docs/configuration.md."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from pandatx.config.config import declared
from pandatx.config.keys import ENVIRONMENT, Derived, Key
from pandatx.config.reader import COMMON, SERVER

_SECTIONS = {
    "server": "What the older server's file has, under its names.",
    "daemon": "The PanDA daemon. Without this section only the server's own daemons run.",
    "pandatx": "Keys that only pandatx knows, so that one file serves both servers.",
    "logger": "Log files.",
}
_FILES = {SERVER: ("server", "daemon", "pandatx"), COMMON: ("logger",)}

_HEAD = {
    SERVER: """\
The configuration of pandatx. Every key is here with its default, commented out: remove the ; to change one.
Keys keep their case. A whole value $NAME or ${NAME} is taken from the environment. None or nothing means the default.
A relative path starts at the folder of this file. "pandatx config check FILE" says what is in force and why.
This file is printed by "pandatx config explain panda_server.cfg".""",
    COMMON: """\
The configuration that the PanDA programs share; of it pandatx reads only where and how much to log.
This file is printed by "pandatx config explain panda_common.cfg".""",
}

_DAEMON_EXAMPLE = """\
config = {
    "add_main": {"enable": true, "period": 240, "loop": true},
    "copyArchive": {"enable": true, "period": 2400, "sync": true}
    }"""

_INTRODUCTION = """\
# Configuration

Printed by `pandatx config explain configuration.md` from the declarations in `pandatx/config/`.

`twistd panda --config FILE` reads FILE and the `panda_common.cfg` beside it. Without `--config`, `panda_server.cfg` and
`panda_common.cfg` are each looked for in `/etc/panda`, `/usr/etc/panda`, `~/etc/panda`, `$PANDA_HOME/etc/panda` and
`$PANDA_HOME/usr/etc/panda`; all that exist are read, and a later one overrides keys of an earlier one. Where
`PANDA_HOME` is set, `$PANDA_HOME/etc/config_json/panda_server_config.json`, a JSON object of sections, overrides them
all; that is what Helm mounts.

- Keys keep their case. Text after `=` is taken as it is: no interpolation, no comments at the end of a line. A value
  goes on in the lines that are indented below it.
- A whole value `$NAME` or `${NAME}` is the value of that environment variable, which must be set.
- `None`, or nothing, means the default. Lists are separated by commas. Relative paths start at the folder of the file.
- All faults are reported at once, each with file, line, section and key, and the exit code is 3.
- A key that nothing reads is named in a warning and does no harm.

`pandatx config check FILE` prints every value in force and where it came from, passwords masked.

The server listens on `PANDA_SERVER_CONF_PORT` and `PANDA_SERVER_CONF_PORT_SSL` where they are set, else on
`pserverporthttp` and `pserverport`; URLs that it makes always name the `pserver*` keys, which may be a balancer's.
"""

_DAEMONS = """
### The daemons in `config`

A JSON object: the name of each daemon to an object of its attributes. A faulty entry stops only itself; what is wrong
with it is in the log, in `/readyz` and in `pandatx config check`. A value that is not JSON at all is a fault of the
configuration.

| attribute | default | meaning |
|---|---|---|
| `enable` | true | only the literal `false` disables |
| `period` | none: must be given | seconds from one start to the next |
| `timeout` | min(3 * period, period + 3600) | seconds after which a run is killed |
| `module` | the daemon's name | module of the package |
| `arguments` | [] | passed to the script unchanged |
| `sync` | false | one server of the cluster runs it per period |
| `loop` | false | again at once while the script returns true, until the period has passed |
"""


def example(name: str) -> str:
    """An example of the file of this name: every key explained, with its default, commented out."""
    blocks = [_comment(_HEAD[name])]
    for section in _FILES[name]:
        blocks.append(f"[{section}]\n{_comment(_SECTIONS[section])}")
        blocks += [_example_of(key) for key in declared() if key.section == section]
    return "\n\n".join(blocks) + "\n"


def _example_of(key: Key) -> str:
    default = f" Default: {key.default.text}." if isinstance(key.default, Derived) else ""
    unit = f" In {key.unit}." if key.unit else ""
    if (key.section, key.name) == ("daemon", "config"):
        return f"{_comment(key.doc)}\n{_comment(_DAEMON_EXAMPLE, ';')}"
    value = "" if isinstance(key.default, Derived) or key.default in (None, "", (), {}) else key.default_text
    return f"{_comment(f'{key.doc}{unit}{default}')}\n;{key.name} = {value}".rstrip()


def _comment(text: str, mark: str = "# ") -> str:
    if mark == ";":
        return "\n".join(f";{line}" for line in text.splitlines())
    return "\n".join(
        textwrap.fill(line, 110, initial_indent=mark, subsequent_indent=mark, break_on_hyphens=False)
        for line in text.splitlines()
    )


def document() -> str:
    """docs/configuration.md."""
    return "".join(_chapters())


def _chapters() -> Iterator[str]:
    yield _INTRODUCTION
    for name, sections in _FILES.items():
        for section in sections:
            yield f"\n## `[{section}]` in {name}\n\n{_SECTIONS[section]}\n\n{_table(section)}"
            if section == "daemon":
                yield _DAEMONS
    yield f"\n## Environment\n\nWhere set, these are in force.\n\n{_table(ENVIRONMENT)}"
    yield "\n`PANDA_HOME`, `X509_CERT_DIR` and `X509_VOMS_DIR` are used as said above.\n"


def _table(section: str) -> str:
    rows = [
        f"| `{key.name}` | {_cell(key.doc)} | {key.kind.name} | {_code(key)} | {key.unit} |"
        for key in declared()
        if key.section == section
    ]
    return "\n".join(["| key | meaning | value | default | unit |", "|---|---|---|---|---|", *rows]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(key: Key) -> str:
    if isinstance(key.default, Derived) or key.default in (None, "", (), {}):
        return "none" if key.default is None else key.default_text
    return f"`{key.default_text}`"
