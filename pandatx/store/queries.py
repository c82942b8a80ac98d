"""SQL as text: every query stands named in a .sql file beside the module that runs it.

A file reads::

    -- name: claim
    -- prepare: queue text, n int
    -- What the query does, in a sentence or two.
    UPDATE ... WHERE computingsite = %(queue)s ...

``prepare`` names the parameters with their types and makes the query a prepared statement of each connection.
``{panda}``, ``{arch}``, ``{meta}``, ``{deft}`` and ``{own}`` are schema names, filled in once per database; other
words in braces are fragments that the loading module gives.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from attrs import frozen

from pandatx.config import Schemas

_NAME = re.compile(r"^-- name: *(\w+) *$", re.M)
_PREPARE = re.compile(r"^-- prepare: *(.+?) *$", re.M)
_COMMENT = re.compile(r"^ *--.*$\n?", re.M)
_PARAMETER = re.compile(r"%\((\w+)\)s")
_FRAGMENT = re.compile(r"\{(\w+)\}")
_SCHEMAS = frozenset(("panda", "arch", "meta", "deft", "own"))


@frozen(kw_only=True)
class Query:
    """A named query; ``parameters`` are the prepared statement's names and types, empty for a plain query."""

    name: str
    text: str
    summary: str = ""
    parameters: tuple[tuple[str, str], ...] = ()

    def in_schemas(self, schemas: Schemas) -> str:
        """The text with the schema names of one database."""
        names = {name: getattr(schemas, name) for name in _SCHEMAS}
        return _FRAGMENT.sub(lambda m: names.get(m[1], m[0]), self.text)

    def prepare(self, schemas: Schemas) -> str:
        """The PREPARE statement, its named parameters made positional."""
        place = {name: f"${n}" for n, (name, _) in enumerate(self.parameters, 1)}
        body = _PARAMETER.sub(lambda m: place[m[1]], self.in_schemas(schemas)).replace("%%", "%")
        return f"PREPARE {self.name} ({', '.join(kind for _, kind in self.parameters)}) AS {body}"

    @property
    def execute(self) -> str:
        """The EXECUTE statement with named parameters."""
        return f"EXECUTE {self.name} ({', '.join(f'%({name})s' for name, _ in self.parameters)})"


class Queries:
    """The queries of one file, each an attribute."""

    def __init__(self, queries: dict[str, Query]) -> None:
        self._queries = queries

    def __getattr__(self, name: str) -> Query:
        try:
            return self._queries[name]
        except KeyError:
            raise AttributeError(name) from None

    def __iter__(self) -> Any:
        return iter(self._queries.values())


def load(module: str, **fragments: str) -> Queries:
    """The queries of the .sql file beside ``module`` (its ``__file__``), with ``fragments`` put in."""
    path = Path(module).with_suffix(".sql")
    parts = _NAME.split(path.read_text(encoding="utf-8"))[1:]
    # Sessions know a query by its name, so it carries that of its file.
    return Queries(
        {
            name: _parse(f"{path.stem}_{name}", body, fragments)
            for name, body in zip(parts[::2], parts[1::2], strict=True)
        }
    )


def _parse(name: str, body: str, fragments: dict[str, str]) -> Query:
    prepare = _PREPARE.search(body)
    summary = " ".join(
        line.strip()[2:].strip() for line in _COMMENT.findall(body.split(";")[0]) if not line.startswith("-- prepare:")
    )
    sql = _COMMENT.sub("", body).strip().rstrip(";")
    sql = _FRAGMENT.sub(lambda m: fragments.get(m[1], m[0]), sql)
    unknown = {word for word in _FRAGMENT.findall(sql) if word not in _SCHEMAS and not word.isdigit()}
    if unknown:
        raise ValueError(f"query {name}: unknown fragment {', '.join(sorted(unknown))}")
    parameters = tuple(_parameter(item) for item in prepare[1].split(",")) if prepare else ()
    return Query(name=name, text=sql, summary=summary, parameters=parameters)


def _parameter(item: str) -> tuple[str, str]:
    name, kind = item.strip().split(None, 1)
    return name, kind
