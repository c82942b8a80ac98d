"""The static trees: /cache/, /trf/, /cric/, /auth/ (reference/wire.md 1.1, 2.15; rule R25)."""

from __future__ import annotations

import errno
import hashlib
import json
import mimetypes
import os
import re
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import IO, Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web import http
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from pandatx.domain.file_requests import LOG_FOLDER, MARK, OVERWRITES
from pandatx.errors import Busy, NotFound
from pandatx.resources.file_parts import FileParts, parts_of
from pandatx.resources.passing_on import PassingOn
from pandatx.services.sandboxes_elsewhere import SandboxesElsewhere

log = Logger()

Document = Callable[[str], bytes | Awaitable[bytes | None] | None]

_VERBS = frozenset((b"GET", b"HEAD", b"POST"))
_AUTH_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*_auth_config\.json")
_NO_FILE = frozenset(
    (
        *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EMLINK, errno.ENAMETOOLONG),
        *(errno.EACCES, errno.EPERM, errno.ENXIO, errno.EINVAL, errno.EILSEQ),
    )
)
"""What a system says of a name under which there is no file for us; all else passes."""
_REFUSALS = {http.NOT_ALLOWED: b"not allowed", 503: b"not to be had now"}
_GUARDS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"sandbox; default-src 'none'"),
)


@frozen
class Opened:
    """An open file, with what its validators are made of."""

    handle: IO[bytes]
    size: int
    changed: float
    tag: bytes
    name: str

    @property
    def is_gzip(self) -> bool:
        """Whether it begins like a gzip file."""
        return os.pread(self.handle.fileno(), 2, 0) == b"\x1f\x8b"

    @classmethod
    def below(cls, directory: Path, names: list[str]) -> Opened | None:
        """The regular file at the end of some names below a directory; no symbolic link is followed on the way.

        Raises Busy where that cannot be said.
        """
        if not names or any(name in ("", ".", "..") or "/" in name or "\0" in name for name in names):
            return None
        try:
            handle = _walk(directory, names)
        except OSError as fault:
            if fault.errno in _NO_FILE:
                return None
            log.error("{name} cannot be opened: {fault}", name=names[-1], fault=fault.strerror)
            raise Busy("the file cannot be opened now", retry_after=30) from None
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            os.close(handle)
            return None
        tag = b'"%x-%x-%x"' % (about.st_ino, about.st_size, about.st_mtime_ns)
        return cls(os.fdopen(handle, "rb"), about.st_size, about.st_mtime, tag, names[-1])


def _walk(directory: Path, names: list[str]) -> int:
    """A descriptor of the last name, step by step, so that no directory on the way can be exchanged."""
    at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for index, name in enumerate(names):
        kind = os.O_DIRECTORY if index < len(names) - 1 else os.O_NONBLOCK
        try:
            next_at = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | kind, dir_fd=at)
        finally:
            os.close(at)
        at = next_at
    return at


def _kept_for(names: list[str]) -> bytes:
    """How long a cache before us may give a file without asking: a sandbox never changes under its name."""
    name = names[-1]
    lasting = len(names) == 1 and name.startswith(("sources.", "jobO.")) and not name.endswith(OVERWRITES)
    return b"public, max-age=86400" if lasting else b"public, no-cache"


class Static(Resource):
    """A directory, read only; POST is GET, since panda-client and Harvester fetch by POST. No listings.

    ``guarded``: the files are strangers' (/cache/), so that a browser must take them for nothing but downloads.
    """

    isLeaf = True

    def __init__(self, directory: Path, *, guarded: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._directory = directory
        self._guarded = guarded

    def render(self, request: Any) -> Any:
        """Send a file."""
        if request.method not in _VERBS:
            return refuse(request, http.NOT_ALLOWED)
        try:
            names = [name.decode() for name in request.postpath[1:]]
        except UnicodeDecodeError:
            return refuse(request, http.NOT_FOUND)
        return self.send(request, names)

    def send(self, request: Any, names: list[str]) -> Any:
        """Send the file at the end of ``names``, or say that there is none."""
        try:
            opened = Opened.below(self._directory, names)
        except Busy as fault:
            return refuse(request, 503, fault.retry_after)
        return self.missing(request, names) if opened is None else self.give(request, names, opened)

    def missing(self, request: Any, names: list[str]) -> Any:
        """There is no such file."""
        return refuse(request, http.NOT_FOUND)

    def give(self, request: Any, names: list[str], opened: Opened) -> Any:
        """Send an open file, the parts of it that are asked for, or that the client has it."""
        if self._guarded:
            guard(request, names[-1])
            request.setHeader(b"cache-control", _kept_for(names))
            if names[0] == LOG_FOLDER and not names[-1].endswith(".log") and opened.is_gzip:
                request.setHeader(b"content-encoding", b"gzip")
        request.setHeader(b"accept-ranges", b"bytes")
        if _unchanged(request, opened.tag, opened.changed):
            opened.handle.close()
            return b""
        asked = request.getHeader(b"range") if request.method != b"HEAD" else None
        body = FileParts(opened.handle, opened.size)
        # Never an encoding by name: a client that undoes it would store a sandbox that is no tar.gz any more.
        kind = mimetypes.guess_type(opened.name)[0] or "application/octet-stream"
        body.prepare(request, kind, parts_of(asked, opened.size))
        if request.method == b"HEAD":
            opened.handle.close()
            return b""
        body.start(request)
        return NOT_DONE_YET


class Cache(Static):
    """/cache/: sandboxes and logs, and below schedconfig/ the descriptions of the queues.

    ``document`` gives the description of a queue by its name, or None; then the directory is looked into.
    ``elsewhere`` knows the sandboxes that other servers have.
    """

    def __init__(
        self,
        directory: Path,
        schedconfig: Path | None,
        document: Document,
        elsewhere: SandboxesElsewhere | None = None,
    ) -> None:
        super().__init__(directory, guarded=True)
        self._schedconfig = Static(schedconfig, guarded=True) if schedconfig is not None else None
        self._document = document
        self._elsewhere = elsewhere

    def send(self, request: Any, names: list[str]) -> Any:
        """Send a file or a queue's description."""
        if any(name.startswith(".") for name in names):
            return refuse(request, http.NOT_FOUND)
        if names[:1] != ["schedconfig"]:
            return super().send(request, names)
        if len(names) == 2 and names[1].endswith(".all.json"):
            Deferred.fromCoroutine(self._send_queue(request, names))
            return NOT_DONE_YET
        return self._send_schedconfig(request, names)

    def missing(self, request: Any, names: list[str]) -> Any:
        """Another server may have it; one that asks for another is told the truth, lest they ask in a circle."""
        if self._elsewhere is None or len(names) != 1 or request.getHeader(MARK.encode()) is not None:
            return refuse(request, http.NOT_FOUND)
        Deferred.fromCoroutine(self._send_from_elsewhere(request, names, self._elsewhere))
        return NOT_DONE_YET

    async def _send_from_elsewhere(self, request: Any, names: list[str], elsewhere: SandboxesElsewhere) -> None:
        passing = PassingOn(request, names[-1], _kept_for(names))
        try:
            await elsewhere.read(names[-1], passing.send)
            if passing.wants_part and passing.may_answer:
                passing.finish(self._now_here(request, names))
        except NotFound:
            passing.finish(refuse(request, http.NOT_FOUND) if passing.may_answer else None)
        except Busy as fault:
            passing.finish(refuse(request, 503, fault.retry_after) if passing.may_answer else None)
        except Exception:
            log.failure("{name} from another server", name=names[-1])
            passing.break_off()

    def _now_here(self, request: Any, names: list[str]) -> Any:
        opened = Opened.below(self._directory, names)
        return refuse(request, http.NOT_FOUND) if opened is None else self.give(request, names, opened)

    def _send_schedconfig(self, request: Any, names: list[str]) -> Any:
        if self._schedconfig is None:
            return refuse(request, http.NOT_FOUND)
        return self._schedconfig.send(request, names[1:])

    async def _send_queue(self, request: Any, names: list[str]) -> None:
        gone: list[Any] = []
        request.notifyFinish().addErrback(gone.append)
        try:
            text = self._document(names[1].removesuffix(".all.json"))
            if text is not None and not isinstance(text, bytes):
                text = await text
        except Exception:
            log.failure("queue document {name}", name=names[1])
            text = None
        if gone:
            return
        if text is None:
            answer = self._send_schedconfig(request, names)
        else:
            guard(request, names[1])
            request.setHeader(b"cache-control", b"public, max-age=60")
            answer = send_bytes(request, text)
        if answer is not NOT_DONE_YET:
            request.write(answer)
            request.finish()


class Auth(Resource):
    """/auth/: what panda-client needs to know of the token issuers; nothing else of that directory is shown (R25)."""

    isLeaf = True

    def __init__(self, directory: Path) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._directory = directory

    def render(self, request: Any) -> Any:
        """Send the configuration of a VO, whichever of ``:`` and ``.`` stands before the role."""
        if request.method not in _VERBS:
            return refuse(request, http.NOT_ALLOWED)
        name = request.postpath[-1].decode("latin-1")
        if len(request.postpath) != 2 or not _AUTH_NAME.fullmatch(name):
            return refuse(request, http.NOT_FOUND)
        for spelling in _spellings(name):
            text = self._read(spelling)
            if text is not None:
                return send_bytes(request, text)
        return refuse(request, http.NOT_FOUND)

    def _read(self, name: str) -> bytes | None:
        path = self._directory / name  # the operator's own folder: a link in it is theirs, as ConfigMaps have them
        try:
            if not path.is_file():
                return None
            with path.open("rb") as file:
                entry = json.loads(file.read(1 << 20))
        except (OSError, ValueError, RecursionError) as fault:
            log.error("{name} is not served: {fault}", name=name, fault=type(fault).__name__)
            return None
        return json.dumps(_without_robots_secret(entry)).encode() if isinstance(entry, dict) else None


def _spellings(name: str) -> tuple[str, ...]:
    vo = name.removesuffix("_auth_config.json")
    head, dot, tail = vo.rpartition(".")
    colons = f"{head}:{tail}" if dot else vo
    return tuple(f"{each}_auth_config.json" for each in dict.fromkeys((vo, vo.replace(":", "."), colons)))


def _without_robots_secret(entry: Mapping[str, Any]) -> dict[str, Any]:
    """panda-client posts client_secret, so the key is always there; a service client's is nobody's business."""
    return {**entry, "client_secret": "" if entry.get("robot_ids") else entry.get("client_secret")}


def guard(request: Any, name: str) -> None:
    """Headers that keep a browser from running what strangers uploaded (R25)."""
    for header, value in _GUARDS:
        request.setHeader(header, value)
    shown = re.sub(r'[^\x20-\x7e]|["\\]', "_", name)
    request.setHeader(b"content-disposition", f'attachment; filename="{shown}"'.encode())


def send_bytes(request: Any, body: bytes) -> bytes:
    """JSON from memory, with a validator."""
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"x-content-type-options", b"nosniff")
    if _unchanged(request, b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode(), None):
        return b""
    request.setHeader(b"content-length", b"%d" % len(body))
    return body


def _unchanged(request: Any, tag: bytes, changed: float | None) -> bool:
    """Set the validators; true if the client has this very version already. A POST has no such conditions."""
    if_range = request.getHeader(b"if-range")
    if if_range is not None and if_range != tag:
        request.requestHeaders.removeHeader(b"range")
    if request.method == b"POST":
        request.requestHeaders.removeHeader(b"if-none-match")
        request.requestHeaders.removeHeader(b"if-modified-since")
    if request.getHeader(b"if-none-match") is not None:
        request.requestHeaders.removeHeader(b"if-modified-since")
    known = [request.setETag(tag) is http.CACHED]
    if changed is not None:
        known.append(request.setLastModified(changed) is http.CACHED)
    return any(known)


def refuse(request: Any, code: int, retry_after: int | None = None) -> bytes:
    """A short text; it names nothing that was asked for. No cache before us is to remember it."""
    request.setResponseCode(code)
    request.setHeader(b"cache-control", b"no-store")
    if retry_after is not None:
        request.setHeader(b"retry-after", b"%d" % retry_after)
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    request.setHeader(b"x-content-type-options", b"nosniff")
    if code == http.NOT_ALLOWED:
        request.setHeader(b"allow", b"GET, HEAD, POST")
    text = _REFUSALS.get(code, b"not found")
    request.setHeader(b"content-length", b"%d" % len(text))
    return text


class Trees(Resource):
    """The root of a port that serves static trees only (rule R32), and ``pages`` by their whole path."""

    isLeaf = True

    def __init__(self, trees: Mapping[bytes, IResource], pages: Mapping[bytes, IResource] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._trees = dict(trees)
        self._pages = dict(pages or {})

    def render(self, request: Any) -> Any:
        """Send what the tree of the first segment has."""
        tree: Any = self._pages.get(request.path) or self._trees.get(request.path[1:].partition(b"/")[0])
        return tree.render(request) if tree is not None else refuse(request, http.NOT_FOUND)
