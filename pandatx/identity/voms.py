"""VOMS attribute certificates (RFC 5755) as they stand in a proxy: read, and nothing verified yet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier
from pyasn1.codec.der.decoder import decode
from pyasn1.error import PyAsn1Error
from pyasn1_modules import rfc5755

from pandatx.identity import der, names
from pandatx.identity.vomsdir import VO_NAME

EXTENSION = ObjectIdentifier("1.3.6.1.4.1.8005.100.100.5")
FQANS = "1.3.6.1.4.1.8005.100.100.4"
SIGNERS = "1.3.6.1.4.1.8005.100.100.10"

LARGEST, DEEPEST, MOST_ELEMENTS = 64 * 1024, 24, 4000
"""Bounds of what is looked at: a proxy with the attributes of an active physicist has a tenth of each."""
MOST_CERTIFICATES, MOST_FQANS, MOST_SIGNERS = 8, 512, 8

Name = tuple[tuple[tuple[str, str], ...], ...]
"""RDNs of (OID, text), as ``name_key`` makes them."""

_FQAN = re.compile(r"(?:/[A-Za-z0-9._-]+)+(?:/Role=[A-Za-z0-9._-]+)?(?:/Capability=[A-Za-z0-9._-]+)?")
_AUTHORITY = re.compile(rf"({VO_NAME.pattern})://[^\s/]+")
_TIME = re.compile(r"\d{14}Z")
_TEXTS = {0x0C: "utf-8", 0x12: "latin-1", 0x13: "latin-1", 0x14: "latin-1", 0x16: "latin-1", 0x1E: "utf-16-be"}
_VERSION_2 = 1


class Unreadable(Exception):
    """An attribute certificate that is none, or one of a kind that VOMS does not make."""


@frozen(kw_only=True)
class AttributeCertificate:
    """What one says. ``holder_name`` and ``holder_serial`` mean the certificate that it was issued to. ``signed`` are
    the bytes under the ``signature``, ``algorithm`` the OID of its algorithm.

    ``critical``: OIDs of the extensions that whoever does not know them must not pass over; ``signers``: the
    certificates that it brings along, its signer's first.
    """

    vo: str
    fqans: tuple[str, ...]
    holder_name: Name
    holder_serial: int
    issuer: Name
    start: datetime
    end: datetime
    signed: bytes
    signature: bytes
    algorithm: ObjectIdentifier
    critical: frozenset[str]
    targets: bool
    signers: tuple[x509.Certificate, ...]


def extension_of(cert: x509.Certificate) -> bytes | None:
    """The value of a certificate's VOMS extension. ValueError for broken extensions."""
    for extension in cert.extensions:
        if extension.oid == EXTENSION:
            value = extension.value
            return value.value if isinstance(value, x509.UnrecognizedExtension) else value.public_bytes()
    return None


def read(extension: bytes) -> list[AttributeCertificate | Unreadable]:
    """The attribute certificates in an extension's value, or why one is none. Raises Unreadable for the whole."""
    try:
        der.measure(extension, LARGEST, DEEPEST, MOST_ELEMENTS)
        found = [each.whole for each in der.elements(der.only(der.only(extension, der.SEQUENCE), der.SEQUENCE))]
    except ValueError as fault:
        raise Unreadable(str(fault)) from None
    if len(found) > MOST_CERTIFICATES:
        raise Unreadable(f"more than {MOST_CERTIFICATES} attribute certificates")
    return [_read(whole) for whole in found]


def _read(whole: bytes) -> AttributeCertificate | Unreadable:
    try:
        return _certificate(whole)
    except Unreadable as fault:
        return fault
    # What a parser of hostile bytes may raise: its own errors, and those of the types underneath.
    except (*names.UNREADABLE, PyAsn1Error, LookupError, AttributeError, OverflowError, RecursionError) as fault:
        return Unreadable(f"it cannot be read: {type(fault).__name__}")


def _certificate(whole: bytes) -> AttributeCertificate:
    parts = list(der.elements(der.only(whole, der.SEQUENCE)))
    decoded, rest = decode(whole, asn1Spec=rfc5755.AttributeCertificate())
    info = decoded["acinfo"]
    _demand(not rest and len(parts) == 3, "it is no attribute certificate")
    _demand(int(info["version"]) == _VERSION_2, "its version is not 2")
    # The algorithm stands inside and outside of what is signed; were they to differ, somebody exchanged the outer one.
    _demand(list(der.elements(parts[0].content))[3].whole == parts[1].whole, "it names two signature algorithms")
    vo, fqans = _attributes(info["attributes"])
    period = info["attrCertValidityPeriod"]
    holder = info["holder"]["baseCertificateID"]
    _demand(holder.isValue, "it does not name the certificate of its holder")
    _demand(info["issuer"].getName() == "v2Form", "its issuer is no single name")
    critical, targets, signers = _extensions(info["extensions"])
    return AttributeCertificate(
        vo=vo,
        fqans=fqans,
        holder_name=_one_directory_name(holder["issuer"], "its holder"),
        holder_serial=int(holder["serial"]),
        issuer=_one_directory_name(info["issuer"]["v2Form"]["issuerName"], "its issuer"),
        start=_time(period["notBeforeTime"]),
        end=_time(period["notAfterTime"]),
        signed=parts[0].whole,
        signature=decoded["signatureValue"].asOctets(),
        algorithm=ObjectIdentifier(str(decoded["signatureAlgorithm"]["algorithm"])),
        critical=critical,
        targets=targets,
        signers=signers,
    )


def _demand(true: bool, otherwise: str) -> None:
    if not true:
        raise Unreadable(otherwise)


def _attributes(attributes: Any) -> tuple[str, tuple[str, ...]]:
    """The VO and its FQANs, which stand in one value of one attribute."""
    found = [each for each in attributes if str(each["type"]) == FQANS]
    _demand(len(found) == 1 and len(found[0]["values"]) == 1, "it has no FQANs, or has them twice")
    value, rest = decode(bytes(found[0]["values"][0]), asn1Spec=rfc5755.IetfAttrSyntax())
    _demand(not rest and len(value["policyAuthority"]) == 1, "it does not name its VO")
    authority = _AUTHORITY.fullmatch(bytes(value["policyAuthority"][0]["uniformResourceIdentifier"]).decode("ascii"))
    if authority is None:
        raise Unreadable("it does not name its VO as VO://host:port")
    _demand(0 < len(value["values"]) <= MOST_FQANS, "it has no FQANs, or too many")
    return authority[1], tuple(dict.fromkeys(_fqans(value["values"])))


def _fqans(values: Any) -> Iterator[str]:
    for value in values:
        _demand(value.getName() == "octets", "one of its FQANs is not of the kind that VOMS makes")
        fqan = bytes(value["octets"]).decode("ascii")
        _demand(_FQAN.fullmatch(fqan) is not None, "one of its FQANs is not of the form that VOMS gives them")
        yield fqan


def _extensions(extensions: Any) -> tuple[frozenset[str], bool, tuple[x509.Certificate, ...]]:
    critical: set[str] = set()
    targets, signers = False, tuple[x509.Certificate, ...]()
    for extension in extensions:
        oid = str(extension["extnID"])
        if extension["critical"]:
            critical.add(oid)
        if oid == str(rfc5755.id_ce_targetInformation):
            targets = True
        elif oid == SIGNERS:
            signers = _signers(bytes(extension["extnValue"]))
    return frozenset(critical), targets, signers


def _signers(value: bytes) -> tuple[x509.Certificate, ...]:
    found = list(der.elements(der.only(der.only(value, der.SEQUENCE), der.SEQUENCE)))
    _demand(len(found) <= MOST_SIGNERS, f"it brings more than {MOST_SIGNERS} certificates along")
    return tuple(x509.load_der_x509_certificate(each.whole) for each in found)


def _time(value: Any) -> datetime:
    text = str(value)
    _demand(_TIME.fullmatch(text) is not None, "its time of validity is not of the form that is demanded")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _one_directory_name(names: Any, what: str) -> Name:
    _demand(names.isValue and len(names) == 1 and names[0].getName() == "directoryName", f"{what} is no single name")
    rdns = names[0]["directoryName"]["rdnSequence"]
    return tuple(tuple(sorted((str(pair["type"]), _text(bytes(pair["value"]))) for pair in rdn)) for rdn in rdns)


def _text(value: bytes) -> str:
    """A string of a name, of whatever kind of string it is."""
    (element,) = der.elements(value)
    _demand(element.tag in _TEXTS, "one of its names is no text")
    return _canonical(element.content.decode(_TEXTS[element.tag]))


def name_key(name: x509.Name) -> Name:
    """A certificate's name in a form that is the same for names that are (RFC 5280, 7.1): the kinds of strings, case
    and repeated blanks do not count."""
    return tuple(
        tuple(sorted((attribute.oid.dotted_string, _canonical(attribute.value)) for attribute in rdn))
        for rdn in name.rdns
    )


def _canonical(value: str | bytes) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return " ".join(text.split()).casefold()
