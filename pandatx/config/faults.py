"""What stops a start: all faults of a configuration at once."""

from __future__ import annotations

from collections.abc import Sequence

from pandatx.errors import EXIT_CONFIGURATION, StartFault


class ConfigurationFaults(StartFault):
    """The configuration cannot be used. Each of ``faults`` names file, line, section and key."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__(EXIT_CONFIGURATION, "\n".join(f"bad configuration: {fault}" for fault in faults))
        self.faults = tuple(faults)
