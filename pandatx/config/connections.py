"""How many connections one process asks of the database."""

from __future__ import annotations

from attrs import frozen

from pandatx.config.config import Config

RESERVED = 3
"""What PostgreSQL keeps back for its superuser unless told otherwise."""


@frozen(kw_only=True)
class Connections:
    """The sum, by what needs them."""

    requests: int
    scheduler: int
    children: int

    @property
    def total(self) -> int:
        return self.requests + self.scheduler + self.children

    def too_many_for(self, max_connections: int) -> bool:
        """Whether one such process alone takes more than the database gives."""
        return self.total > max_connections - RESERVED

    def __str__(self) -> str:
        return (
            f"{self.requests} for requests + {self.scheduler} for the scheduler + {self.children} for children"
            f" = {self.total} per process"
        )


def connections_of(config: Config) -> Connections:
    """The connections that one process with this configuration may open (rule R31)."""
    return Connections(
        requests=config.database.pool,
        scheduler=config.database.pool_scheduler,
        children=config.daemon.n_proc * config.daemon.n_dbconn,
    )
