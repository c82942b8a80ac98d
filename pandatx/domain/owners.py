"""Whose name is whose, and what is asked about it (rule R27)."""

from __future__ import annotations

from datetime import datetime

from attrs import field, frozen

from pandatx.domain.requests import wire


@frozen(kw_only=True)
class Owner:
    """``subject`` is the DN of a certificate, or issuer and subject of a token; ``also`` are those whom an operator
    lets use the name too."""

    name: str
    subject: str
    also: tuple[str, ...] = field(default=(), converter=tuple)
    first_seen: datetime


@frozen(kw_only=True)
class OwnerName:
    """A compact name, as jobs and tasks carry it."""

    name: str = wire()


@frozen(kw_only=True)
class OwnerSubject:
    """A compact name, and somebody who may use it: a DN, or issuer and subject of a token with a blank between."""

    name: str = wire()
    subject: str = wire()
