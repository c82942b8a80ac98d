"""The group ``system``: whether the server lives, and who it takes the caller for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypedDict

from attrs import frozen

from pandatx.domain.caller import Caller
from pandatx.domain.query_requests import Anything
from pandatx.domain.requests import NoArguments
from pandatx.resources.api import MEBIBYTE, TEXT, Answer, Call, Limits, anyone, operation, secure

_PULSE: Final = Limits(hot=True, inflated=MEBIBYTE)
_GROUP: Final = re.compile(r"/[^/]+/([^/]+)/Role=production(?:/|$)")


class Attributes(TypedDict):
    """What was asked with, and what is known of the caller."""

    parameters: dict[str, str]
    environment: dict[str, str]


class UserAttributes(TypedDict):
    """Who the server takes the caller for."""

    user_dn_raw: str
    user_dn_clean: str
    fqans: list[str]
    is_production_user: bool
    production_working_groups: list[str]
    primary_working_group: str | None


@frozen
class SystemResource:
    """What says that the server lives. ``_server`` is host and port of HTTPS, as URLs name them."""

    _server: str = ""

    @operation("system/is_alive", legacy="isAlive", verb="GET", allows=anyone, form=TEXT, limits=_PULSE)
    async def is_alive(self, caller: Caller, request: NoArguments, call: Call) -> Answer:
        """Say that the server is there; it does not look at the database."""
        return Answer(value="alive=yes")

    @operation("pandatx/get_server", legacy="getServer", verb="GET", gives=str, allows=anyone, form=TEXT)
    async def get_server(self, caller: Caller, request: NoArguments, call: Call) -> Answer:
        """Say under which host and port the server is reached by HTTPS."""
        return Answer(data=self._server, value=self._server)

    @operation(
        "system/get_attributes",
        legacy="getAttr",
        verb="GET",
        asks=Anything,
        gives=Attributes,
        allows_legacy=anyone,
        form=TEXT,
        allows=secure,
    )
    async def get_attributes(self, caller: Caller, request: Anything, call: Call) -> Answer:
        """Say what the caller asked with, and under which names its credentials are known."""
        environment = _environment(caller, call)
        parameters = {name: str(value) for name, value in sorted(request.parameters.items())}
        shown = "".join(f"{name} = {value}\n" for name, value in parameters.items())
        text = f"===== param =====\n{shown}\n====== env ======\n{_lines(environment)}"
        return Answer(data=Attributes(parameters=parameters, environment=environment), message=text, value=text)

    @operation(
        "system/get_voms_attributes",
        legacy="getVomsAttr",
        verb="GET",
        gives=dict[str, str],
        allows_legacy=anyone,
        form=TEXT,
        allows=secure,
    )
    async def get_voms_attributes(self, caller: Caller, request: NoArguments, call: Call) -> Answer:
        """Say which credentials of a VO the caller has."""
        found = _credentials(caller)
        return Answer(data=found, message=_lines(found).rstrip("\n"), value=_lines(found))

    @operation("system/get_user_attributes", verb="GET", gives=UserAttributes, allows=secure)
    async def get_user_attributes(self, caller: Caller, request: NoArguments, call: Call) -> Answer:
        """Say who the server takes the caller for, and which roles it sees."""
        found = UserAttributes(
            user_dn_raw=caller.dn or "",
            user_dn_clean=caller.name,
            fqans=list(caller.fqans),
            is_production_user=caller.production,
            production_working_groups=list(caller.working_groups),
            primary_working_group=_primary_group(caller.fqans),
        )
        return Answer(data=found, message=_lines({name: str(value) for name, value in found.items()}))


def _credentials(caller: Caller) -> dict[str, str]:
    """As mod_gridsite words them: panda-client looks for these names."""
    words = caller.voms or tuple(f"VOMS {fqan}" for fqan in caller.fqans)
    return {f"GRST_CRED_{number}": word for number, word in enumerate(words)}


def _environment(caller: Caller, call: Call) -> dict[str, str]:
    """Names that are safe to show, and no others (rule R25)."""
    found = {"REMOTE_ADDR": caller.address}
    if call.secure:
        found["HTTPS"] = "on"
    if caller.dn is not None:
        found["SSL_CLIENT_S_DN"] = caller.dn
    return dict(sorted({**found, **dict(caller.attributes), **_credentials(caller)}.items()))


def _lines(values: Mapping[str, Any]) -> str:
    return "".join(f"{name} : {value}\n" for name, value in sorted(values.items()))


def _primary_group(fqans: tuple[str, ...]) -> str | None:
    match = next(filter(None, map(_GROUP.match, fqans)), None)
    return match[1].rsplit("-", 1)[-1].lower() if match else None
