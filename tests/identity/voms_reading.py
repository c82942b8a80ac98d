"""What tests of VOMS attributes share: two VOs with a server each, a user, a reader."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from voms_authority import (
    VomsServer,
)

from pandatx.identity import authority
from pandatx.identity.trust import Trust
from pandatx.identity.voms_reader import Attributes, VomsReader

NOW = datetime.now(UTC).replace(microsecond=0)
CA = authority.make_authority("/DC=local/DC=pandatx/CN=CA", NOW)
OTHER_CA = authority.make_authority("/DC=local/DC=other/CN=CA", NOW)
USER = authority.make_user(CA, "/DC=local/DC=pandatx/CN=user", NOW)
SOMEBODY = authority.make_user(CA, "/DC=local/DC=pandatx/CN=somebody", NOW)
ATLAS = VomsServer.make("atlas", CA, NOW)
CMS = VomsServer.make("cms", CA, NOW)
RSA_KEY = rsa.generate_private_key(65537, 2048)
OF_RSA = VomsServer.make("atlas", CA, NOW, RSA_KEY)
PRODUCTION = "/atlas/Role=production/Capability=NULL"
MEMBER = "/atlas/Role=NULL/Capability=NULL"
FQANS = (PRODUCTION, MEMBER)
RECORDED = Path(__file__).parent / "voms_proxy_fake.pem"


def reader_of(vomsdir: Path | None, *crls: bytes, authorities=(CA.cert,), **how: Any) -> VomsReader:
    reader = VomsReader(vomsdir, **how)
    reader.renew(Trust(authorities, tuple(map(x509.load_pem_x509_crl, crls))))
    return reader


def found(reader: VomsReader, credential: authority.Credential, user=USER, now=NOW) -> Attributes:
    read = reader.read([credential.cert, *credential.chain], user.cert, now)
    assert isinstance(read, Attributes)
    return read


def why(reader: VomsReader, credential: authority.Credential, user=USER, now=NOW) -> str:
    """What is said of attributes that grant nothing."""
    read = found(reader, credential, user, now)
    assert read.fqans == ()
    return read.why
