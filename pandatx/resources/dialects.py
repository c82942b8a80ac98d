"""What an answer, a refusal and a breakdown look like in each dialect: one table, used by nobody but the router."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from pandatx import errors
from pandatx.errors import PandaError
from pandatx.resources.api import MEBIBYTE, Answer, Dialect, LegacyForm, Operation, Style
from pandatx.resources.bodies import Malformed
from pandatx.resources.decoding import ArgumentFault
from pandatx.resources.encoding import Encoded, to_json, to_urlencoded

PLAIN = b"text/plain; charset=utf-8"
JSON = b"application/json"
FAILED, ROLE, PERMISSION = 30, 60, 70


@frozen
class Response:
    """What goes out. ``pieces`` are the body of a long answer, to be put together off the reactor's thread."""

    body: bytes | bytearray
    status: int = 200
    kind: bytes = JSON
    retry_after: int | None = None
    gzipped: bool = False
    pieces: Sequence[bytes] = ()


class CrossSite(PandaError):
    """A page of another site made the browser call us (rule R23)."""

    def __init__(self) -> None:
        super().__init__("calls from pages of other sites are refused")


class NoPickle(PandaError):
    """The caller waits for a pickle, which nobody should be given and which says nothing to others.

    panda-client 1.6.0 is the first that asks REST instead of these methods; 1.5.92 still reads their pickles.
    """

    def __init__(self) -> None:
        super().__init__(
            "this server answers no pickles: send 'Accept: application/json', or use panda-client 1.6.0 or newer"
        )


class WrongVerb(PandaError):
    """The operation is not called by this verb."""

    def __init__(self, expected: tuple[str, ...], received: str) -> None:
        super().__init__(f"expecting {' or '.join(expected)}, received {received}")


@frozen
class Refusal:
    """``rest`` and ``legacy``: HTTP statuses. ``code``: the StatusCode that stands for it where the answer has one."""

    rest: int = 200
    legacy: int = 200
    code: int | None = None


# The first class that fits counts. A None code: also a StatusCode method answers with the HTTP status.
REFUSALS: tuple[tuple[type[PandaError], Refusal], ...] = (
    (errors.Banned, Refusal(403, 403)),
    (errors.TokenRejected, Refusal(403, 403)),
    (errors.MethodForbidden, Refusal(403, 403)),
    (CrossSite, Refusal(403, 403)),
    (errors.TooLarge, Refusal(413, 413)),
    (NoPickle, Refusal(400, 400)),
    (Malformed, Refusal(400, 400)),
    (errors.TooManyRequests, Refusal(429, 429, code=10)),
    (errors.Busy, Refusal(503, 503, code=10)),
    (errors.NotSecure, Refusal(code=ROLE)),
    (errors.RoleRequired, Refusal(code=ROLE)),
    (errors.NotPermitted, Refusal(code=PERMISSION)),
    (errors.TokenKeyInvalid, Refusal(code=50)),
    (errors.KeyMissing, Refusal(code=80)),
    (errors.NotKept, Refusal(code=90)),
    (errors.BadRequest, Refusal(200, 400)),
    (PandaError, Refusal(code=FAILED)),
)


def answer(dialect: Dialect, operation: Operation, what: Answer, wants_json: bool) -> Response:
    """An answer of an operation; REST is JSON always (rule R21), but for what is declared a plain text."""
    if dialect is Dialect.V1:
        return Response(str(what.value).encode(), kind=PLAIN) if operation.plain else _in_envelope(what)
    style = operation.form.style
    if style is Style.STATUS_JSON or (style is Style.STATUS and wants_json):
        return _as_json(what.legacy(True))
    if style in (Style.STATUS, Style.URLENCODED):
        return _as_text(what.legacy(False))
    value = what.legacy(wants_json)
    if isinstance(value, Encoded):
        return _long(value.pieces, PLAIN)
    return Response(str(value).encode() if style is Style.TEXT else to_json(value), kind=PLAIN)


def _in_envelope(what: Answer) -> Response:
    if not isinstance(what.data, Encoded):
        return Response(to_json(what.envelope()))
    rest = {name: value for name, value in what.envelope().items() if name != "data"}
    return _long([to_json(rest)[:-1], b',"data":', *what.data.pieces, b"}"], JSON)


def _long(pieces: Sequence[bytes], kind: bytes) -> Response:
    if sum(map(len, pieces)) <= MEBIBYTE:
        return Response(b"".join(pieces), kind=kind)
    return Response(b"", kind=kind, pieces=pieces)


def refusal(dialect: Dialect, operation: Operation | None, fault: PandaError, wants_json: bool) -> Response:
    """A refusal; without an operation there was none of that name."""
    how = next(refusal for kind, refusal in REFUSALS if isinstance(fault, kind))
    retry_after = fault.retry_after if isinstance(fault, errors.Busy) else None
    if dialect is Dialect.V1:
        text = fault.rest if isinstance(fault, ArgumentFault) else str(fault)
        return Response(_envelope(text), how.rest, JSON, retry_after)
    if operation is not None and how.code is not None:
        told = _legacy_refusal(operation, fault, how, wants_json)
        if told is not None:
            return told
    return Response(f"ERROR : {fault}".encode(), how.legacy, PLAIN, retry_after)


def _legacy_refusal(operation: Operation, fault: PandaError, how: Refusal, wants_json: bool) -> Response | None:
    """A refusal in the form of the operation's answers, so that clients read on; None where there is no such form."""
    form, code = operation.form, how.code
    assert code is not None
    busy = isinstance(fault, errors.Busy)
    pair = form.style in (Style.TEXT, Style.JSON, Style.PICKLED)
    if form.role_text is not None and code == ROLE and not (pair and isinstance(fault, errors.NotSecure)):
        return _as_text(
            _because("failed to retrieve DN" if isinstance(fault, errors.NotSecure) else form.role_text, fault)
        )
    if form.style is Style.TEXT:
        return None if busy else Response(str(fault).encode(), kind=PLAIN)
    if pair:
        if form.style is Style.PICKLED and not wants_json:
            return None
        # panda-client up to 2.0.2 runs curl and reads the JSON whatever the status is: it breaks at a line of text.
        retry_after = fault.retry_after if isinstance(fault, errors.Busy) else None
        return Response(to_json([_begins(form, fault), str(fault)]), how.legacy, PLAIN, retry_after)
    if busy and not isinstance(fault, errors.TooManyRequests):
        code = form.busy
    dialog = str(fault) if code == ROLE != form.role_code else _dialog(fault)
    fields = {"StatusCode": form.role_code if code == ROLE else code, "errorDialog": dialog}
    in_json = form.style is Style.STATUS_JSON or (form.style is Style.STATUS and wants_json)
    return _as_json(fields) if in_json else _as_text(fields)


def _begins(form: LegacyForm, fault: PandaError) -> int:
    """What a refusal in JSON begins with (reference/wire.md 5.2)."""
    not_secure, no_role, other = form.refused
    if isinstance(fault, errors.NotSecure):
        return not_secure
    return no_role if isinstance(fault, errors.RoleRequired | errors.NotPermitted) else other


def _dialog(fault: PandaError) -> str:
    if isinstance(fault, errors.NotSecure | errors.RoleRequired):
        return _because(errors.NO_ROLE, fault)
    return str(fault)


def _because(text: str, fault: PandaError) -> str:
    return errors.because(text, getattr(fault, "why", ""))


def breakdown(dialect: Dialect, call_id: str) -> Response:
    """Our own fault: the caller learns the id under which the log has the rest."""
    text = f"internal error, request {call_id}"
    if dialect is Dialect.V1:
        return Response(_envelope(text), 500)
    return Response(f"ERROR : {text}".encode(), 500, PLAIN)


def _envelope(message: str) -> bytes:
    return to_json({"success": False, "message": message, "data": None})


def _as_json(value: Any) -> Response:
    return Response(value.encode(), kind=PLAIN) if isinstance(value, str) else Response(to_json(value))


def _as_text(value: Any) -> Response:
    return Response(to_urlencoded(value) if isinstance(value, Mapping) else str(value).encode(), kind=PLAIN)
