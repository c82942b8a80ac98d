"""CRIC's dumps of sites, storage endpoints and queues, read into records; what has another form is left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pandatx.domain.cric import NAME_WIDTH, Endpoint, QueueStorages, Site, Space, fits
from pandatx.domain.dumps import UnreadableDump, entries

GB: Final = 1024**3
_ACTIVE: Final = "ACTIVE"
_NUCLEUS: Final = "Nucleus"


def read_sites(content: bytes) -> dict[str, Site]:
    """The active sites by name. Raises UnreadableDump, also where there is none."""
    found = {}
    for name, entry in _objects(content, "site dump"):
        if entry.get("state") == _ACTIVE and fits(name):
            nucleus = _NUCLEUS in _texts(entry.get("datapolicies"))
            found[name] = Site(
                name=name,
                role="nucleus" if nucleus else "satellite",
                tier_level=_tier(entry.get("tier_level")),
                endpoints=tuple(_active(entry.get("ddmendpoints"))),
                queues=tuple(queue for resource in _values(entry.get("presources")) for queue in _active(resource)),
            )
    return _some(found, "site dump has no active site")


def read_endpoints(content: bytes) -> dict[str, Endpoint]:
    """The active endpoints by name. Raises UnreadableDump, also where there is none."""
    found = {}
    for name, entry in _objects(content, "endpoint dump"):
        if entry.get("state") == _ACTIVE and fits(name):
            found[name] = Endpoint(
                name=name,
                site=_text(entry.get("site")) or "",
                token=_text(entry.get("token"), NAME_WIDTH),
                type=_text(entry.get("type"), 20),
                is_tape=bool(entry.get("is_tape")),
            )
    return _some(found, "endpoint dump has no active endpoint")


def read_queue_storages(content: bytes) -> dict[str, QueueStorages]:
    """The queues by the name that sites know them by. Raises UnreadableDump, also where there is none."""
    found: dict[str, QueueStorages] = {}
    for key, entry in _objects(content, "queue dump"):
        name = _text(entry.get("panda_resource")) or _text(entry.get("nickname")) or key
        if fits(name):
            storages = entry.get("astorages")
            queue = QueueStorages(
                name=name,
                site=_text(entry.get("atlas_site")) or _text(entry.get("site")) or "",
                storages={role: tuple(_texts(names)) for role, names in storages.items()}
                if isinstance(storages, dict)
                else {},
            )
            found.setdefault(name, queue)
    return _some(found, "queue dump has no usable queue")


def read_exclusions(content: bytes) -> dict[str, dict[str, str]]:
    """Endpoint to activity to status, where something is out of the ordinary."""
    return {
        name: {
            activity: status
            for activity, about in entry.items()
            if isinstance(about, dict) and isinstance(about.get("status"), dict)
            if (status := _text(about["status"].get("value"))) is not None and activity.isprintable()
        }
        for name, entry in _objects(content, "dump of exclusions")
    }


def read_usage(content: bytes) -> dict[str, Space]:
    """The space of endpoints by name; bytes in the dump, GB here."""
    found = {}
    for name, entry in _objects(content, "dump of space usage"):
        used, free = _gigabytes(entry, "storage", "used"), _gigabytes(entry, "storage", "free")
        at = _time(entry.get("storage"))
        measured = used is not None and free is not None and at is not None
        found[name] = Space(
            used=used if measured else None,
            free=free if measured else None,
            total=used + free if used is not None and free is not None and measured else None,
            expired=_gigabytes(entry, "expired", "used"),
            min_free=_gigabytes(entry, "min_free_space", "used"),
            unavailable=_gigabytes(entry, "unavailable", "used"),
            at=at if measured else None,
        )
    return found


def _objects(content: bytes, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((key, entry) for key, entry in entries(content, what) if isinstance(entry, dict))


def _some(found: dict[str, Any], otherwise: str) -> dict[str, Any]:
    if not found:
        raise UnreadableDump(f"the {otherwise}")
    return found


def _values(value: object) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else ()


def _active(value: object) -> Iterator[str]:
    """The names of an object whose entries are active."""
    for name, entry in value.items() if isinstance(value, dict) else ():
        if isinstance(entry, dict) and entry.get("state") == _ACTIVE and fits(name):
            yield name


def _text(value: object, width: int | None = None) -> str | None:
    if not isinstance(value, str) or not value or not value.isprintable():
        return None
    return value[:width]


def _texts(value: object) -> Iterator[str]:
    return (item for item in value if isinstance(item, str)) if isinstance(value, list) else iter(())


def _tier(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**15 else None


def _gigabytes(entry: Mapping[str, Any], part: str, key: str) -> int | None:
    about = entry.get(part)
    value = about.get(key) if isinstance(about, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) >= 1e24:
        return None
    return round(value / GB)


def _time(about: object) -> datetime | None:
    text = about.get("updated_at") if isinstance(about, dict) else None
    try:
        return datetime.strptime(text or "", "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except (TypeError, ValueError):
        return None
