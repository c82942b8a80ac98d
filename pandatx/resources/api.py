"""An operation is declared once: where it is served, what it asks, who may call it, how each dialect answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from enum import Enum, StrEnum
from typing import Any, Protocol, TypeVar

from attrs import define, field, frozen
from attrs.validators import instance_of

from pandatx.domain.caller import Caller
from pandatx.domain.requests import NoArguments
from pandatx.errors import NotSecure, RoleRequired

MEBIBYTE = 1 << 20


class Dialect(StrEnum):
    """The two languages of the wire."""

    V1 = "v1"
    LEGACY = "legacy"


@frozen
class Permission:
    """Who may call, by name; ``judge`` raises the refusal. What depends on the job is judged by the service."""

    name: str
    judge: Callable[[Caller], None]


def _anyone(caller: Caller) -> None:
    pass


def _secure(caller: Caller) -> None:
    if not caller.secure:
        raise NotSecure(caller.why_not_secure)


def _authenticated(caller: Caller) -> None:
    if not caller.authenticated:
        raise NotSecure(caller.why_not_secure)


def _production(caller: Caller) -> None:
    _secure(caller)
    if not caller.production:
        raise RoleRequired(why=caller.why_no_role)


def _reporters(caller: Caller) -> None:
    _secure(caller)
    if not caller.reports:
        raise RoleRequired(why=caller.why_no_role)


anyone = Permission("anyone", _anyone)
secure = Permission("secure", _secure)
# Limited proxies too, on getJob and updateJob and their twins only (rule R29); the rest is decided job by job (R16).
pilots = Permission("pilots", _authenticated)
production = Permission("production", _production)
pilot_role = Permission("pilot-role", _reporters)


class Style(Enum):
    """What an answer of the older dialect looks like (reference/wire.md 5.2)."""

    STATUS = "StatusCode and fields, urlencoded unless Accept names JSON"
    URLENCODED = "StatusCode and fields, urlencoded always"
    STATUS_JSON = "StatusCode and fields, JSON always"
    JSON = "a JSON text"
    TEXT = "plain text"
    PICKLED = "a JSON text where Accept names JSON; older clients were given a pickle, and are refused"


@frozen
class LegacyForm:
    """``busy`` is the StatusCode that stands for an overload, ``role_code`` the one for a caller without the role.

    ``role_text`` replaces the latter by a plain text. ``refused``: what refusals in JSON begin with, of a caller that
    is not secure, of one without the role, and any other. Where an answer begins with a number, false looks like
    success. ``unless``: the argument of a PICKLED one by which a caller says that it reads JSON, whatever it accepts.
    """

    style: Style
    busy: int = 10
    role_text: str | None = None
    role_code: int = 60
    refused: tuple[int, int, int] = (False, False, False)
    unless: str | None = None


STATUS = LegacyForm(Style.STATUS)
URLENCODED = LegacyForm(Style.URLENCODED)
STATUS_JSON = LegacyForm(Style.STATUS_JSON)
JSON = LegacyForm(Style.JSON)
NUMBERED = LegacyForm(Style.JSON, refused=(100, 101, 102))
TEXT = LegacyForm(Style.TEXT)
PICKLED = LegacyForm(Style.PICKLED)


@frozen
class Upload:
    """An operation takes a file. ``judge(name, bytes)`` refuses one that is too large for its name; none may be
    larger than ``largest``.
    """

    judge: Callable[[str, int], None]
    largest: int


@frozen(kw_only=True)
class Limits:
    """``inflated``: bytes of a body at most, before and after inflation (rule R22). ``seconds``: after so many the
    caller is told that it takes longer; None: as for most operations. ``hot``: reached without Klein, and keeps its
    own time. ``report``: waits where others would be told that the caller has too much under way, and has no time.
    ``upload``: it takes a file in a multipart form, to which ``inflated`` does not apply.
    """

    inflated: int = 64 * MEBIBYTE
    seconds: float | None = None
    hot: bool = False
    report: bool = False
    upload: Upload | None = None

    @property
    def on_wire(self) -> int:
        """Bytes that a body may have as it comes: a file has its form around it, what is packed is no larger."""
        return self.inflated if self.upload is None else self.upload.largest + 2 * MEBIBYTE


@frozen(kw_only=True)
class Operation:
    """A declaration; ``path`` is group/method, ``legacy`` the names under /server/panda/.

    ``gives`` is the type of ``data`` when the call succeeds: None, scalars, ``list[...]``, ``dict[str, ...]``, unions,
    TypedDicts, or Any. ``plain``: REST, too, answers the text ``value`` without an envelope, as its clients expect.
    """

    path: str
    legacy: tuple[str, ...]
    verbs: tuple[str, ...]
    asks: type
    gives: Any
    allows: Permission = field(validator=instance_of(Permission))
    allows_legacy: Permission = field(validator=instance_of(Permission))
    form: LegacyForm
    limits: Limits
    summary: str
    plain: bool = False

    @property
    def changes(self) -> bool:
        """Whether a call may change something, so that another site's page must not be able to make it (R23)."""
        return "GET" not in self.verbs

    def permission(self, dialect: Dialect) -> Permission:
        return self.allows if dialect is Dialect.V1 else self.allows_legacy


async def _no_breath() -> None:
    pass


async def _at_once(work: Callable[[], Any]) -> Any:
    return work()


@define(eq=False)
class Call:
    """The circumstances of one request.

    ``breathe()`` lets the reactor see to others in the midst of long work, ``in_thread`` takes work off its thread.
    ``slot``: the place among the requests of the caller that are under way, where there is a limit to them; ``large``:
    among those with a large body.
    """

    id: str
    dialect: Dialect
    address: str = ""
    secure: bool = False
    lost: bool = False
    slot: str | None = None
    large: str | None = None
    breathe: Callable[[], Awaitable[None]] = _no_breath
    in_thread: Callable[[Callable[[], Any]], Awaitable[Any]] = _at_once

    def gone(self) -> bool:
        """Whether the client has hung up."""
        return self.lost


@frozen(kw_only=True)
class Answer:
    """What an operation says; each dialect takes the parts that it speaks of.

    ``data``, ``message``, ``success`` and ``extra`` make the envelope of REST. ``fields`` make the StatusCode form,
    ``value`` a JSON value or, if a str, a plain text. ``undelivered`` runs when the client was gone before the first
    byte was written (rule R3).
    """

    data: Any = None
    message: str = ""
    success: bool = True
    extra: Mapping[str, Any] = field(factory=dict)
    fields: Mapping[str, Any] = field(factory=dict)
    value: Any = None
    undelivered: Callable[[], Awaitable[None]] | None = None

    def envelope(self) -> dict[str, Any]:
        """The answer on REST."""
        return {"success": self.success, "message": self.message, "data": self.data, **self.extra}

    def legacy(self, as_json: bool) -> Any:
        """The answer in the older dialect: a mapping for a StatusCode form, else a JSON value or a text."""
        return self.value if self.value is not None else {"StatusCode": 0, **self.fields}


class Handler(Protocol):
    """An operation's method, bound to its resource."""

    def __call__(self, caller: Caller, request: Any, call: Call, /) -> Awaitable[Answer]: ...


_Method = TypeVar("_Method", bound=Callable[..., Awaitable[Answer]])
_MARK = "__panda_operation__"


def operation(
    path: str,
    *,
    legacy: str | tuple[str, ...] = (),
    verb: str | tuple[str, ...] = "POST",
    asks: type = NoArguments,
    gives: Any = None,
    allows: Permission,
    allows_legacy: Permission | None = None,
    form: LegacyForm = STATUS,
    limits: Limits | None = None,
    plain: bool = False,
) -> Callable[[_Method], _Method]:
    """Declare a method of a resource: it is served at ``path`` on REST, under ``legacy`` in the older dialect.

    The first line of the docstring is the summary. Without ``allows_legacy`` both dialects admit the same callers.
    Without ``limits`` what anyone may call has a body of a MiB at most.
    """
    if limits is None:
        limits = Limits(inflated=MEBIBYTE) if anyone in (allows, allows_legacy) else Limits()

    def declare(method: _Method) -> _Method:
        declared = Operation(
            path=path,
            legacy=(legacy,) if isinstance(legacy, str) else legacy,
            verbs=(verb,) if isinstance(verb, str) else verb,
            asks=asks,
            gives=gives,
            allows=allows,
            allows_legacy=allows_legacy or allows,
            form=form,
            limits=limits,
            summary=(method.__doc__ or "").strip().split("\n", 1)[0],
            plain=plain,
        )
        setattr(method, _MARK, declared)
        return method

    return declare


@frozen
class Served:
    """An operation with the method that does it."""

    operation: Operation
    handler: Handler


@frozen
class Table:
    """All that is served: by path on REST, by name in the older dialect. What is not here is not served."""

    by_path: Mapping[str, Served]
    by_legacy: Mapping[str, Served]

    @property
    def operations(self) -> list[Operation]:
        return [served.operation for served in self.by_path.values()]


def collect(*resources: object) -> Table:
    """The declared methods of some resources, or of their classes where nobody is to call them.

    Raises ValueError where two have the same path or legacy name.
    """
    by_path: dict[str, Served] = {}
    by_legacy: dict[str, Served] = {}
    for served in (each for resource in resources for each in _declared(resource)):
        _enter(by_path, served.operation.path, served)
        for name in served.operation.legacy:
            _enter(by_legacy, name, served)
    return Table(by_path, by_legacy)


def _declared(resource: object) -> Iterator[Served]:
    kind = resource if isinstance(resource, type) else type(resource)
    for name, method in vars(kind).items():
        declared = getattr(method, _MARK, None)
        if declared is not None:
            yield Served(declared, getattr(resource, name))


def _enter(table: dict[str, Served], key: str, served: Served) -> None:
    if key in table:
        raise ValueError(f"two operations are declared at {key}")
    table[key] = served
