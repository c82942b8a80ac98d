"""What callers ask of systems beside this server: iDDS and the data carousel (reference/wire.md 3.6, 5.1)."""

from __future__ import annotations

from attrs import frozen

from pandatx.domain.requests import BIG, wire


@frozen(kw_only=True)
class IddsCommand:
    """A command for iDDS. ``args`` and ``kwargs`` are JSON texts; ``command_name`` may be followed by + and a host."""

    command_name: str = wire()
    args: str | None = wire(None, document=True)
    kwargs: str | None = wire(None, document=True)
    manager: bool = wire(False)
    json_outputs: bool = wire(False)


@frozen(kw_only=True)
class IddsWorkflowCommand:
    """A command for a workflow of the caller's. ``kwargs`` is a JSON text."""

    command_name: str = wire()
    kwargs: str | None = wire(None, document=True)
    json_outputs: bool = wire(False)


@frozen(kw_only=True)
class StagingRequest:
    """Which staging request, by id or by dataset; the id counts where both are given."""

    request_id: int | None = wire(None, bound=BIG)
    dataset: str | None = wire(None)


@frozen(kw_only=True)
class StagingSource(StagingRequest):
    """Another source for a staging request."""

    cancel_fts: bool = wire(False)
    change_src_expr: bool = wire(False)
    source_rse: str | None = wire(None)
