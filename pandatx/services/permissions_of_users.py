"""What the letters in GRIDPREF of the table of users allow (reference/wire.md 1.5.5).

Asked here, but where the row of a user is held anyway: when jobs are submitted.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

from pandatx.domain.caller import Caller
from pandatx.errors import DatabaseAway, NotPermitted
from pandatx.services.facts import Facts


class Letter(StrEnum):
    """A letter that allows its user something."""

    PROXY = "p"
    KEY_PAIR = "k"
    TOKEN_KEY = "t"
    ASYNC = "a"


_FOR = {
    Letter.PROXY: "proxies and access tokens",
    Letter.KEY_PAIR: "key pairs",
    Letter.TOKEN_KEY: "token keys",
    Letter.ASYNC: "asynchronous requests",
}


@frozen
class UserPermissions:
    """By the latest reading of the table, at most a minute old (rule R13). ``meta`` is the schema's name."""

    _facts: Facts
    _meta: str = "doma_pandameta"

    def letters(self, caller: Caller) -> str:
        """Those of a user who is not disabled. Raises DatabaseAway while nobody knows."""
        if self._facts.known.read_at is None:
            raise DatabaseAway("the table of users could not be read yet")
        return self._facts.known.letters.get(caller.name, "")

    def has(self, caller: Caller, letter: Letter) -> bool:
        """Whether a user who is not disabled has the letter. Raises DatabaseAway while nobody knows."""
        return letter in self.letters(caller)

    def require(self, caller: Caller, letter: Letter) -> None:
        """Raises NotPermitted with the letter that is missing, DatabaseAway while nobody knows.

        Credentials of others need more of a token than the name that its holder goes by, which is only shown (rule
        R27): the pilot or production role, which comes from groups.
        """
        if not self.has(caller, letter):
            where = f"{self._meta}.USERS.GRIDPREF"
            raise NotPermitted(f"'{caller.name}' is not authorized with '{letter}' in {where} to get {_FOR[letter]}")
        if caller.how == "token" and not caller.reports:
            raise NotPermitted(f"a token without the pilot or production role gets no {_FOR[letter]}")
