"""Answers are gzipped for who asks for that, where it is worth it and nobody waits for it (reference/wire.md 9)."""

from __future__ import annotations

import gzip
import json

import pytest
from attrs import frozen
from sites import Connection, site_of

from pandatx.domain.caller import Caller
from pandatx.domain.requests import NoArguments
from pandatx.resources import api
from pandatx.resources.api import Answer, Call, Limits, operation


@frozen
class Lengths:
    """Answers of some length."""

    text: str

    @operation("length/some", legacy="some", allows=api.secure, gives=str)
    async def some(self, caller: Caller, request: NoArguments, call: Call) -> Answer:
        """Answer at length."""
        return Answer(data=self.text, fields={"text": self.text})

    @operation("length/hot", legacy="hot", allows=api.secure, gives=str, limits=Limits(hot=True))
    async def hot(self, caller: Caller, request: NoArguments, call: Call) -> Answer:
        """Answer at length, and at once."""
        return Answer(data=self.text, fields={"text": self.text})


def ask(size: int, path: str, accept: str) -> tuple[dict[str, str], bytes]:
    """The headers and the body of an answer as they are on the wire: treq would undo what is asked for here."""
    connection = Connection(site_of(Lengths("x" * size)))
    connection.post(path, {}, f"Accept-Encoding: {accept}\r\n" if accept else "")
    head, _, body = connection.received.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}, body


@pytest.mark.parametrize("size", [2000, 100_000, 3_000_000])
def test_who_takes_gzip_gets_it(size: int) -> None:
    headers, body = ask(size, "/api/v1/length/some", "gzip, deflate")
    assert (headers["content-encoding"], headers["vary"]) == ("gzip", "Accept-Encoding")
    assert int(headers["content-length"]) == len(body) < size / 10
    assert json.loads(gzip.decompress(body))["data"] == "x" * size
    _, body = ask(size, "/server/panda/some", "*")
    assert gzip.decompress(body) == b"StatusCode=0&text=" + b"x" * size


@pytest.mark.parametrize(("size", "path", "accept"), [
    (2000, "/api/v1/length/some", ""),
    (2000, "/api/v1/length/some", "identity"),
    (2000, "/api/v1/length/some", "br, gzip;q=0"),
    (2000, "/api/v1/length/some", "gzip;q=much"),
    (100, "/api/v1/length/some", "gzip"),
    (2000, "/api/v1/length/hot", "gzip"),
])  # fmt: skip
def test_all_else_is_sent_as_it_is(size: int, path: str, accept: str) -> None:
    headers, body = ask(size, path, accept)
    assert "content-encoding" not in headers
    assert json.loads(body)["data"] == "x" * size
