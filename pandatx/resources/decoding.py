"""A mapping of wire values to a request class, by a decoder that is compiled once per class and dialect."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, get_type_hints

from attrs import NOTHING, fields, frozen
from twisted.logger import Logger

from pandatx.domain.requests import Wire
from pandatx.errors import BadRequest
from pandatx.resources.api import Dialect
from pandatx.resources.convert import ALL, BAD, Converter, Unfit, base_of, of_field, type_name

log = Logger()


class ArgumentFault(BadRequest):
    """An argument is missing or of the wrong type; ``rest`` is the text of REST (reference/wire.md 1.4)."""

    def __init__(self, field: str, why: str, rest: str) -> None:
        super().__init__(field, why)
        self.rest = rest

    @classmethod
    def missing(cls, field: str) -> ArgumentFault:
        return cls(field, "missing a required argument", f"Argument error: missing a required argument: '{field}'")

    @classmethod
    def wrong(cls, field: str, expected: str, value: Any, as_text: bool, fault: BaseException) -> ArgumentFault:
        if isinstance(fault, Unfit):
            why = str(fault)
            told = why.replace(ALL, f"{ALL} in '{field}'") if why.startswith(ALL) else f"'{field}' {why}"
            return cls(field, why, f"Type error: {told}.")
        got = type(value).__name__
        if as_text:
            shown = str(value)[:100]
            rest = f"Type error: '{field}' with value '{shown}' could not be casted to type {expected} from {got}."
        else:
            rest = f"Type error: '{field}' must be of type {expected}, got {got}."
        return cls(field, f"must be of type {expected}, got {got}", rest)


@frozen
class Field:
    """One spelling of one field.

    ``lenient``: left out where it is bad; ``nullable``: may be None; ``textual``: a blank is a value. ``rank`` 0 is the
    dialect's own spelling, which wins over others in the same body.
    """

    name: str
    convert: Converter
    expected: str
    rank: int
    lenient: bool
    nullable: bool
    forgiving: bool
    textual: bool


@frozen
class Decoder:
    """Makes requests of one class from the mappings of one dialect. ``rest`` is the field for unknown names."""

    asks: type
    spellings: Mapping[str, Field]
    required: tuple[tuple[str, str], ...]
    defaults: Mapping[str, Any]
    ignored: frozenset[str]
    rest: str | None = None

    def decode(self, raw: Mapping[str, Any], as_text: bool = False) -> Any:
        """A request. ``as_text``: from a query or a form, where all are texts and None is the text None.

        Null is the same as absent, and unknown names are passed over. Raises ArgumentFault; of a lenient class,
        only for the fields that decide.
        """
        values: dict[str, Any] = dict(self.defaults)
        seen: set[str] = set()
        bad: list[str] = []
        unknown: list[str] = []
        get = self.spellings.get
        for key, value in raw.items():
            entry = get(key)
            if entry is None:
                if key not in self.ignored:
                    unknown.append(key)
                continue
            if value is None or (entry.rank and entry.name in seen):
                continue
            if as_text and _stands_for_nothing(value, entry):
                continue
            try:
                values[entry.name] = entry.convert(value)
                seen.add(entry.name)
            except BAD as fault:
                if entry.forgiving:
                    continue
                if not entry.lenient:
                    raise ArgumentFault.wrong(key, entry.expected, value, as_text, fault) from None
                bad.append(key)
        for name, spelling in self.required:
            if name not in values:
                raise ArgumentFault.missing(spelling)
        if self.rest is not None:
            values[self.rest] = {**values.get(self.rest, {}), **{key: raw[key] for key in unknown}}
        elif bad or unknown:
            self._tell(values, bad, unknown)
        return self.asks(**values)

    def _tell(self, values: Mapping[str, Any], bad: list[str], unknown: list[str]) -> None:
        name = self.asks.__name__
        if bad:
            log.warn("{cls} of {job}: left out, bad: {bad}", cls=name, job=values.get("job_id"), bad=bad)
        if unknown:
            log.debug("{cls}: unknown names: {unknown}", cls=name, unknown=unknown[:20])


def _stands_for_nothing(value: Any, entry: Field) -> bool:
    return (value == "" and not entry.textual) or (value == "None" and entry.nullable)


@cache
def decoder(asks: type, dialect: Dialect) -> Decoder:
    """The decoder of a request class in a dialect; its fields carry ``Wire`` (see domain/requests.py)."""
    hints = get_type_hints(asks)
    decisive: frozenset[str] | None = getattr(asks, "decisive", None)
    spellings: dict[str, Field] = {}
    required, defaults = [], {}
    for attribute in fields(asks):
        how = attribute.metadata.get("wire", Wire())
        own, others = _spellings(attribute.name, how, dialect)
        for rank, spelling in enumerate((own, *others)):
            entry = _field(attribute.name, hints[attribute.name], how, rank, dialect, decisive)
            if rank == 0 or spelling not in spellings:
                spellings[spelling] = entry
        if attribute.default is NOTHING:
            required.append((attribute.name, own))
        elif dialect is Dialect.LEGACY and how.legacy_default is not NOTHING:
            defaults[attribute.name] = how.legacy_default
    ignored: frozenset[str] = getattr(asks, "ignored", frozenset())
    return Decoder(asks, spellings, tuple(required), defaults, ignored, getattr(asks, "rest", None))


def _spellings(name: str, how: Wire, dialect: Dialect) -> tuple[str, tuple[str, ...]]:
    legacy = how.legacy or name
    own, other = (name, legacy) if dialect is Dialect.V1 else (legacy, name)
    return own, tuple(each for each in (other, *how.aliases) if each != own)


def _field(
    name: str, annotation: Any, how: Wire, rank: int, dialect: Dialect, decisive: frozenset[str] | None
) -> Field:
    lenient = decisive is not None and name not in decisive
    return Field(
        name=name,
        convert=of_field(annotation, how, legacy=dialect is Dialect.LEGACY, lenient=lenient),
        expected=type_name(annotation),
        rank=rank,
        lenient=lenient,
        nullable=base_of(annotation) is not annotation,
        forgiving=how.forgiving,
        textual=base_of(annotation) is str,
    )
