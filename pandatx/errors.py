"""What a caller should be told: one family of exceptions in the words of the field. Anything else is our bug."""

from __future__ import annotations


class PandaError(Exception):
    """A refusal. Its text goes to the caller as it is, so it never carries a secret or a traceback."""


class BadRequest(PandaError):
    """The request cannot be understood; ``field`` names the part that is at fault."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field


class TooLarge(BadRequest):
    """The request is larger than this server takes."""


class NotSecure(PandaError):
    """The call needs an authenticated caller, and not one with a limited proxy. ``why``: what is wrong with the
    credentials that there were."""

    def __init__(self, why: str = "") -> None:
        super().__init__(because("SSL secure connection is required", why))
        self.why = why


NO_ROLE = "no production/pilot role in VOMS FQANs or non pilot owner"
"""What pilots and Harvesters are told, in the words of the older server."""


class RoleRequired(PandaError):
    """The call needs the production or the pilot role. ``why``: what is wrong with the credentials that there were."""

    def __init__(self, text: str = "production or pilot role required", why: str = "") -> None:
        super().__init__(because(text, why))
        self.why = why


def because(text: str, why: str) -> str:
    """A text, and why it is so where that is known."""
    return f"{text}: {why}" if why else text


class NotPermitted(PandaError):
    """The caller is known, and this is not theirs to do."""


class NameTaken(NotPermitted):
    """The caller's compact name belongs to somebody else (rule R27)."""

    def __init__(self, name: str, identity: str) -> None:
        super().__init__(f"the name {name} belongs to another identity than {identity}")


class NotConfigured(PandaError):
    """What is asked needs a system that this server was not told of."""


class MethodForbidden(PandaError):
    """No such method is served."""

    def __init__(self, name: str) -> None:
        super().__init__(f"method {name} is forbidden")


class Banned(PandaError):
    """The caller's account is disabled."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is banned")


class TokenRejected(PandaError):
    """A bearer token that is not accepted, and why."""

    def __init__(self, why: str) -> None:
        super().__init__(f"Token authentication failed. {why}")


class NotFound(PandaError):
    """The thing asked for does not exist."""


class KeyMissing(PandaError):
    """A key that is asked for is not there, or not to be given out."""


class NotKept(PandaError):
    """A proxy or a token that is asked for is not there, or not to be given out."""


class TokenKeyInvalid(PandaError):
    """The key for a client's token is not one that holds."""

    def __init__(self, client: str) -> None:
        super().__init__(f"failed since token key is invalid for {client}")


class BadArguments(PandaError):
    """A daemon was given arguments that it does not know."""


class UnwritableFolder(PandaError):
    """A folder that files belong in cannot be written to, and why."""


class UnknownQueue(BadRequest):
    """A job names no queue, or one that this server does not know."""


class Busy(PandaError):
    """Too much is waiting already; the same request may be taken after ``retry_after`` seconds."""

    def __init__(self, why: str = "the server is busy", retry_after: int = 5) -> None:
        super().__init__(why)
        self.retry_after = retry_after


class TooManyRequests(Busy):
    """The caller has as many requests under way as one may have."""

    def __init__(self, most: int) -> None:
        super().__init__(f"you have {most} requests under way already, and one may not have more", retry_after=5)


class TooSlow(Busy):
    """The answer takes longer than a caller is kept waiting; what was begun goes on."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"this takes longer than {seconds:g} s; what was begun goes on", retry_after=60)


class DatabaseAway(Busy):
    """The database cannot be reached at the moment."""

    def __init__(self, why: str = "the database is away", retry_after: int = 10) -> None:
        super().__init__(why, retry_after)


class StartFault(Exception):
    """The server cannot start: one clear line, and the exit code of rule R36."""

    def __init__(self, exit_code: int, line: str) -> None:
        super().__init__(line)
        self.exit_code = exit_code


EXIT_USAGE, EXIT_CONFIGURATION, EXIT_CERTIFICATE, EXIT_PORT, EXIT_DATABASE, EXIT_SCHEMA = 2, 3, 4, 5, 6, 7
