"""Names of certificate holders: the DN in slash form and what is derived from it (reference/wire.md 1.5.2)."""

from __future__ import annotations

import re

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID, ObjectIdentifier

UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What is raised when a part of a certificate is asked for that is broken: it was not looked at before."""

# The short names that OpenSSL prints; an attribute that is not here goes by its dotted number.
SHORT_NAMES: dict[ObjectIdentifier, str] = {
    NameOID.COMMON_NAME: "CN",
    NameOID.COUNTRY_NAME: "C",
    NameOID.LOCALITY_NAME: "L",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.STREET_ADDRESS: "street",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.USER_ID: "UID",
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.SURNAME: "SN",
    NameOID.GIVEN_NAME: "GN",
    NameOID.TITLE: "title",
    NameOID.INITIALS: "initials",
    NameOID.PSEUDONYM: "pseudonym",
    NameOID.DN_QUALIFIER: "dnQualifier",
    NameOID.BUSINESS_CATEGORY: "businessCategory",
    NameOID.GENERATION_QUALIFIER: "generationQualifier",
    NameOID.JURISDICTION_COUNTRY_NAME: "jurisdictionC",
    NameOID.JURISDICTION_LOCALITY_NAME: "jurisdictionL",
    NameOID.JURISDICTION_STATE_OR_PROVINCE_NAME: "jurisdictionST",
    NameOID.ORGANIZATION_IDENTIFIER: "organizationIdentifier",
    NameOID.POSTAL_ADDRESS: "postalAddress",
    NameOID.POSTAL_CODE: "postalCode",
    NameOID.UNSTRUCTURED_NAME: "unstructuredName",
}

_PLAIN = re.compile(r"[ -.0-\[\]-~]*")
_READS_AS_ESCAPE = re.compile(rb"\\(?=x[0-9A-Fa-f]{2})")
_RDN_START = re.compile(r"/(?=[A-Za-z0-9.]+=)")
_PROXY_CN = re.compile(r"/CN=(?:limited )?proxy(?=/|$)")
_TRAILING_DIGITS = re.compile(r"(?:/CN=[0-9]+)+$")

_PLACE = re.compile(r"/(?:DC|OU|O|C|L)=[^/]+")
_NUMBERS = re.compile(r"/CN=[0-9]+")
_TAIL_NUMBERS = re.compile(r"[ _][0-9]+")
_PROXY_WORDS = re.compile(r"/CN=(?:limited )?proxy")
_ROBOT_OR_NICKNAME = re.compile(r"/CN=(?:Robot|nickname):[^/]+")
_TWO_CNS = re.compile(r"/CN=[^/]+/CN=([^/]+)")
_EMAIL_FIELD = re.compile(r"(?<=.)/email.*", re.IGNORECASE | re.DOTALL)
_EMAIL_WORD = re.compile(r" [a-z][\w.-]+@[\w.-]+\.\w+")


def slash_dn(cert: x509.Certificate) -> str:
    """The subject as ``/DC=ch/CN=Name``, in the certificate's own order, with bytes outside printable ASCII as \\xHH.

    A slash inside a value that would read as the start of another RDN is written \\x2F: no certificate may look
    like one with more RDNs than its CA signed. A \\xHH that stands in a value so is written \\x5CxHH: no two subjects
    look the same.
    """
    return "".join(f"/{_short(attribute.oid)}={_value(attribute)}" for rdn in cert.subject.rdns for attribute in rdn)


def _short(oid: ObjectIdentifier) -> str:
    return SHORT_NAMES.get(oid, oid.dotted_string)


def _value(attribute: x509.NameAttribute[str | bytes]) -> str:
    value = attribute.value
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    raw = value if isinstance(value, bytes) else value.encode("utf-8")
    return _RDN_START.sub(r"\\x2F", _escaped(_READS_AS_ESCAPE.sub(rb"\\x5C", raw)))


def escaped(text: str) -> str:
    """A text with its bytes outside printable ASCII as \\xHH, as they are in DNs."""
    return _escaped(text.encode("utf-8"))


def _escaped(raw: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte <= 0x7E else f"\\x{byte:02X}" for byte in raw)


def rdns(dn: str) -> tuple[str, ...]:
    """The RDNs of a DN in slash form: ``/O=x/CN=host/a.b`` has two."""
    return tuple(part for part in _RDN_START.split(dn) if part)


def bare_dn(dn: str) -> str:
    """A DN without its proxy parts: no CN=proxy, no CN=limited proxy, no trailing CNs of digits only."""
    return _TRAILING_DIGITS.sub("", _PROXY_CN.sub("", dn))


def compact_name(dn: str) -> str:
    """The owner's name that jobs and tasks carry, made of a DN in slash form or of a token's name.

    The oddities are those of the names that are in the databases already: /CN=123abc leaves "abc", a text before
    the first /CN= stays in front, digits after a blank or an underscore go. What would leave nothing is kept as it is.
    """
    name = _PLACE.sub("", dn)
    for pattern in (_NUMBERS, _TAIL_NUMBERS, _PROXY_WORDS, _ROBOT_OR_NICKNAME):
        name = pattern.sub("", name)
    adjacent = _last_of_adjacent_cns(name)
    name = adjacent if adjacent is not None else name.replace("/CN=", "")
    name = _EMAIL_FIELD.sub("", name)
    name = name.translate({ord(mark): None for mark in "()'"})
    short = _EMAIL_WORD.sub("", name)
    if " " in short:
        name = short
    return name or dn


def _last_of_adjacent_cns(name: str) -> str | None:
    last, position = None, 0
    while found := _TWO_CNS.search(name, position):
        last, position = found.group(1), found.start() + 1
    return last
