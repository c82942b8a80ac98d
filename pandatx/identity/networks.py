"""A set of networks, asked by address: whose word about others is believed."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network


class Networks:
    """``address in networks``; names of networks are as in the settings, ``10.0.0.0/8`` or a single address."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(ip_network(name, strict=False) for name in names)
        self._holds = lru_cache(maxsize=4096)(self._look_up)

    def __contains__(self, address: object) -> bool:
        return bool(self._networks) and isinstance(address, str) and self._holds(address)

    def _look_up(self, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        return any(address in network for network in self._networks)
