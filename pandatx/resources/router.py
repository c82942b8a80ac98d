"""The root of what is served: hot operations and static trees by dictionary, all other operations through Klein."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.web.http import Request
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import HTTPException

from pandatx.resources.api import MEBIBYTE, Dialect, Served, Table
from pandatx.resources.edge import Edge
from pandatx.resources.file_server import HARVESTERS

VERSIONS = frozenset(("v1", "latest"))
_NEVER = frozenset((b"TRACE", b"TRACK"))


class Tree:
    """The operations behind two rules of Klein; what fits neither is forbidden, as is what was never declared."""

    app = Klein()
    app.url_map.merge_slashes = False

    def __init__(self, edge: Edge, table: Table) -> None:
        self._edge = edge
        self._table = table

    @app.route("/server/panda/<method>")
    def legacy(self, request: Request, method: str) -> Deferred[None]:
        """The older dialect."""
        return self._edge.serve(request, self._table.by_legacy.get(method), Dialect.LEGACY, method)

    @app.route("/api/<version>/<group>/<method>")
    def rest(self, request: Request, version: str, group: str, method: str) -> Deferred[None]:
        """REST."""
        served = self._table.by_path.get(f"{group}/{method}") if version in VERSIONS else None
        return self._edge.serve(request, served, Dialect.V1, method)

    @app.handle_errors(HTTPException)
    def forbidden(self, request: Request, failure: Any) -> Any:
        """No such path: the same refusal as for an unknown method."""
        return Forbidden(self._edge)


class Forbidden(Resource):
    """What a path that nothing is declared for is answered by. Of a refused match Klein ends what a handler wrote,
    but leaves a resource alone."""

    isLeaf = True

    def __init__(self, edge: Edge) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._edge = edge

    def render(self, request: Any) -> int:
        """Refuse in the dialect of the path."""
        dialect = Dialect.V1 if request.path.startswith(b"/api/") else Dialect.LEGACY
        self._edge.serve(request, None, dialect, request.path.decode("utf-8", "replace"))
        return NOT_DONE_YET


class Root(Resource):
    """The whole site. ``trees`` by the first segment of a path, ``pages`` by a whole path."""

    isLeaf = True

    def __init__(
        self,
        edge: Edge,
        table: Table,
        trees: Mapping[bytes, IResource] | None = None,
        pages: Mapping[bytes, IResource] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._edge = edge
        self._hot = {**hot_paths(table), **harvesters_paths(table)}
        paths = all_paths(table)
        self._paths = paths
        self._body_limits = {path: served.operation.limits.on_wire for path, (served, _) in paths.items()}
        self._forbidden = Forbidden(edge)
        self._trees = dict(trees or {})
        self._pages = dict(pages or {})
        self._tree = Tree(edge, table)  # Klein holds it weakly
        self._klein = self._tree.app.resource()

    def render(self, request: Any) -> Any:
        """Answer a request of any method."""
        hot = self._hot.get(request.path)
        if hot is not None and request.method not in _NEVER:
            self._edge.serve(request, *hot)
            return NOT_DONE_YET
        if request.method in _NEVER:
            return self._forbidden.render(request)
        found: Any = self._pages.get(request.path) or self._trees.get(request.path[1:].partition(b"/")[0])
        if found is None:
            found = self._klein if _is_text(request) else self._forbidden
        return found.render(request)

    def sink(self, request: Any, verb: bytes, target: bytes, length: int | None) -> Any:
        """What the body of a request is to be written to as it arrives; None where twisted.web may keep it."""
        found = self._paths.get(target.partition(b"?")[0])
        return None if found is None or length == 0 else self._edge.sink(request, verb, *found, length)

    def body_limit(self, target: bytes) -> int:
        """How many bytes the body of a request may have on the wire."""
        return self._body_limits.get(target.partition(b"?")[0], MEBIBYTE)


def _is_text(request: Any) -> bool:
    """Whether the names in a path are text, without which Klein answers in no dialect."""
    try:
        b"".join(request.postpath).decode()
        (request.getHeader(b"host") or b"").decode("ascii")
    except UnicodeDecodeError:
        return False
    return True


def harvesters_paths(table: Table) -> dict[bytes, tuple[Served, Dialect, str]]:
    """Where Harvester, at the URL of the sandboxes, asks for operations of REST (reference/wire.md 4, row 23)."""
    found = ((path, table.by_path.get(path)) for path in HARVESTERS)
    return {f"/{path}".encode(): (served, Dialect.V1, path) for path, served in found if served is not None}


def all_paths(table: Table) -> dict[bytes, tuple[Served, Dialect]]:
    """Where each operation is served."""
    found = {path: (served, dialect) for path, (served, dialect, _) in harvesters_paths(table).items()}
    for served in table.by_path.values():
        operation = served.operation
        found |= {f"/api/{version}/{operation.path}".encode(): (served, Dialect.V1) for version in VERSIONS}
        found |= {f"/server/panda/{name}".encode(): (served, Dialect.LEGACY) for name in operation.legacy}
    return found


def hot_paths(table: Table) -> dict[bytes, tuple[Served, Dialect, str]]:
    """The paths of the hot operations, which need no routing."""
    found = {}
    for served in table.by_path.values():
        operation = served.operation
        if operation.limits.hot:
            for version in VERSIONS:
                found[f"/api/{version}/{operation.path}".encode()] = (served, Dialect.V1, operation.path)
            for name in operation.legacy:
                found[f"/server/panda/{name}".encode()] = (served, Dialect.LEGACY, name)
    return found
