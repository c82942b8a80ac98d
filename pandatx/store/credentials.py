"""Token keys of clients, and the users whose proxies are kept."""

from __future__ import annotations

from datetime import datetime, timedelta

from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


async def register_key(
    tx: Transaction, client: str, key: str, lifetime: timedelta, every: timedelta, now: datetime
) -> bool:
    """Give a client a new key if its youngest is older than ``every``, and remove all that have expired."""
    await tx.run(SQL.lock_keys)
    expires = now + lifetime
    made = await tx.run(SQL.register_key, client=client, key=key, now=now, expires=expires, young=expires - every)
    await tx.run(SQL.remove_expired_keys, now=now)
    return bool(made.rows)


async def proxy_users(tx: Transaction) -> list[str]:
    """DNs, as the table of users has them."""
    return (await tx.run(SQL.proxy_users)).column("dn")
