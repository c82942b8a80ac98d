"""Values of the wire to values of Python. A converter raises one of ``BAD`` for what it cannot take."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from attrs import NOTHING

from pandatx.domain.file_requests import Uploaded
from pandatx.domain.json_texts import read_json
from pandatx.domain.requests import BIG, Wire

Converter = Callable[[Any], Any]

ALL = "All elements"

_SEPARATORS = re.compile(r"[,\s]+")
_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,20}(?:\.0*)?\s*")
_LONGEST_ID = 32
"""Characters of an id in a text, with what stands between it and the next."""
_MOST_KB = 10**10 - 1
_HARVESTERS_TIME = "datetime/"
_END_OF_TIME = datetime.max.replace(tzinfo=UTC).timestamp()
BAD = (ValueError, TypeError, OverflowError, RecursionError)


class Unfit(ValueError):
    """A value of the right type that cannot be taken; its text says why."""


def integer(value: Any) -> int:
    """An int from an int, a number text or a float, whose fraction is cut off."""
    kind = type(value)
    if kind is int:
        return value  # type: ignore[no-any-return]
    if kind is str:
        return _integer_of_text(value)
    if kind is float or kind is bool:
        return int(value)
    raise TypeError(kind.__name__)


def _integer_of_text(text: str) -> int:
    if "_" in text:  # Python's own literal form
        raise ValueError(text)
    try:
        return int(text)
    except ValueError:
        return int(float(text))


def identifier(value: Any) -> int:
    """An id: a whole number that a table can hold. No fraction is cut off, since that would be another's id."""
    kind = type(value)
    if kind is bool or (kind is float and not value.is_integer()):
        raise TypeError(kind.__name__)
    if kind is str and not _WHOLE.fullmatch(value):
        raise ValueError(value)
    result = integer(value)
    if not -BIG <= result <= BIG:
        raise ValueError(value)
    return result


def number(value: Any) -> float:
    """A finite float from any number or number text."""
    if type(value) not in (float, int, str, bool) or (type(value) is str and "_" in value):
        raise TypeError(type(value).__name__)
    result = float(value)
    if result - result != 0:  # nan and the infinities
        raise ValueError(value)
    return result


def truth(value: Any) -> bool:
    """True from true, 1 and their texts in any case; False from false, 0 and a blank."""
    if type(value) is bool:
        return value
    text = str(value).strip().lower() if type(value) in (str, int) else ""
    if text in ("true", "1"):
        return True
    if text in ("false", "0", "") and type(value) in (str, int):
        return False
    raise ValueError(value)


def text(value: Any) -> str:
    """A text from a text or a scalar. NUL has no place in a table."""
    kind = type(value)
    if kind is str:
        if "\0" in value:
            raise Unfit("must not hold a NUL character")
        return value  # type: ignore[no-any-return]
    if kind in (int, float, bool):
        return str(value)
    raise TypeError(kind.__name__)


def document(value: Any) -> str:
    """A text; a JSON object or list becomes its JSON text."""
    return json.dumps(value) if type(value) in (dict, list) else text(value)


def time(value: Any) -> datetime:
    """Aware UTC from epoch seconds, from "Y-m-d H:M:S[.f]" and ISO 8601, and from the markers of the clients."""
    if type(value) is dict:
        value = value.get("__datetime__", value.get("_datetime_object"))
    if type(value) is str:
        value = value.strip().removeprefix(_HARVESTERS_TIME)
        try:
            value = number(value)
        except BAD:
            parsed = datetime.fromisoformat(value)
            return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    if type(value) not in (int, float) or not value > 0:
        raise ValueError(value)
    if not value < _END_OF_TIME:
        raise ValueError(value)
    return datetime.fromtimestamp(value, UTC)


def mapping(value: Any) -> dict[str, Any]:
    """An object, or the JSON text of one."""
    found = read_json(value) if type(value) is str else value
    if type(found) is not dict:
        raise TypeError(type(found).__name__)
    return found


def uploaded(value: Any) -> Uploaded:
    """A file of a multipart form; nothing else is one."""
    if type(value) is not Uploaded:
        raise TypeError(type(value).__name__)
    return value


def _anything(value: Any) -> Any:
    return value


_SCALARS: dict[Any, Converter] = {
    int: integer,
    float: number,
    bool: truth,
    str: text,
    datetime: time,
    dict: mapping,
    Uploaded: uploaded,
    Any: _anything,
}


def listing(element: Any, most: int | None = None) -> Converter:
    """Lists; a single value is a list of one, a text is split at commas (ids at blanks too), of objects it is JSON.

    They are counted before they are looked at.
    """
    each = identifier if element is int else _SCALARS[element]

    def convert(value: Any) -> tuple[Any, ...]:
        if most is not None and type(value) is str and _seems_long(value, element, most):
            raise _too_many(most)
        found = value if type(value) is list else _split(value, element) if type(value) is str else [value]
        if most is not None and len(found) > most:
            raise _too_many(most)
        try:
            return tuple(map(each, found))
        except BAD:
            if type(value) is not list:
                raise
            raise Unfit(f"{ALL} must be {type_name(element)}") from None

    return convert


def _seems_long(text: str, element: Any, most: int) -> bool:
    """Whether a text would come apart into too many elements."""
    if element is int:
        return len(text) > most * _LONGEST_ID
    return element is str and not text.startswith("[") and text.count(",") >= most


def _too_many(most: int) -> Unfit:
    return Unfit(f"has more than {most} elements")


def _split(value: str, element: Any) -> Any:
    if element is Any:
        found = read_json(value)
        if type(found) is not list:
            raise TypeError(type(found).__name__)
        return found
    if element is str and not value.startswith("["):
        return value.split(",") if value else []
    if value.startswith("["):
        return read_json(value)
    return _SEPARATORS.split(value.strip()) if value.strip() else []


def base_of(annotation: Any) -> Any:
    """The annotation without ``| None``."""
    if get_origin(annotation) in (UnionType, Union):
        return next(each for each in get_args(annotation) if each is not NoneType)
    return annotation


def type_name(annotation: Any) -> str:
    """How the wire's texts call a type."""
    base = base_of(annotation)
    if get_origin(base) is tuple:
        return f"list[{type_name(get_args(base)[0])}]"
    if base is Uploaded:
        return "file"
    return "str" if base is datetime else getattr(base, "__name__", str(base))


def of_annotation(annotation: Any) -> Converter:
    """The converter of a field by its annotated type."""
    base = base_of(annotation)
    if get_origin(base) is tuple:
        return listing(get_args(base)[0])
    return _SCALARS[get_origin(base) or base]


def of_field(annotation: Any, how: Wire, *, legacy: bool, lenient: bool) -> Converter:
    """The converter of a field with its cuts, bounds and units; ``lenient``: NULs in a text are only left out."""
    base = base_of(annotation)
    convert = of_annotation(annotation)
    if base is str:
        if how.document or lenient:
            convert = partial(_without_nul, document if how.document else text)
        return _cutting(convert, how.cut) if how.cut else convert
    if how.kilo:
        return _kilo
    if how.exact:
        convert = identifier
    if how.unsigned and legacy:
        convert = _unsigned
    if base in (int, float):
        convert = _bounded(convert, how.bound or (BIG if base is int else 1e300), how.least)
    if get_origin(base) is tuple:
        convert = listing(get_args(base)[0], how.most)
    elif how.most is not None:
        convert = _counted(convert, how.most)
    if how.null_as is not NOTHING:
        convert = _null_as(convert, how.null_as)
    return convert


def _without_nul(convert: Converter, value: Any) -> str:
    if type(value) is str:
        return value.replace("\0", "") if "\0" in value else value
    return convert(value)  # type: ignore[no-any-return]


def _cutting(convert: Converter, cut: int) -> Converter:
    return lambda value: convert(value)[:cut]


def _kilo(value: Any) -> int:
    """kB from bytes, in both dialects (rule R21)."""
    return min(int(number(value) / 1024), _MOST_KB)


def _unsigned(value: Any) -> int:
    """A legacy text loses its sign (it once meant that the pilot could recover); a JSON number keeps it."""
    return integer(value.strip().removeprefix("-") if type(value) is str else value)


def _bounded(convert: Converter, bound: float, least: int | None) -> Converter:
    def convert_bounded(value: Any) -> Any:
        result = convert(value)
        if not -bound <= result <= bound:
            raise ValueError(value)
        return result

    if least is None:
        return convert_bounded
    return lambda value: max(least, convert_bounded(value))


def _counted(convert: Converter, most: int) -> Converter:
    def convert_counted(value: Any) -> Any:
        result = convert(value)
        if len(result) > most:
            raise _too_many(most)
        return result

    return convert_counted


def _null_as(convert: Converter, stands_for: Any) -> Converter:
    return lambda value: stands_for if value == "NULL" else convert(value)
