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
    """The call needs an authenticated caller, and not one with a limited proxy."""

    def __init__(self) -> None:
        super().__init__("SSL secure connection is required")


class RoleRequired(PandaError):
    """The call needs the production or the pilot role."""

    def __init__(self, text: str = "production or pilot role required") -> None:
        super().__init__(text)


class NotPermitted(PandaError):
    """The caller is known, and this is not theirs to do."""


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
