"""Where messages of data management come from."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from pandatx.config import kinds
from pandatx.config.keys import setting


@frozen(kw_only=True)
class MessagingSettings:
    """A STOMP broker that tells of datasets that are complete. ``host`` None: nobody is listened to.

    TLS is checked with ``ca``, else with the system's authorities; ``certificate`` and ``key`` are ours, where the
    broker wants them.
    """

    host: str | None = setting(
        "pandatx.messages_host",
        kinds.TEXT,
        None,
        "STOMP broker (ActiveMQ) with Rucio's messages of complete datasets; unset: none, they are asked for.",
    )
    port: int = setting("pandatx.messages_port", kinds.PORT, 61613, "Its STOMP port.")
    destination: str | None = setting(
        "pandatx.messages_destination", kinds.TEXT, None, "Queue or topic there, as /queue/Consumer.panda.rucio.events."
    )
    subscription: str | None = setting(
        "pandatx.messages_subscription",
        kinds.TEXT,
        None,
        "Name of a durable subscription, which a topic needs to keep messages while the server is down.",
    )
    user: str | None = setting("pandatx.messages_user", kinds.TEXT, None, "User at the broker.")
    password: str | None = setting(
        "pandatx.messages_password", kinds.TEXT, None, "Password there; better ${NAME} than in clear.", secret=True
    )
    tls: bool = setting("pandatx.messages_tls", kinds.YES_NO, False, "Speak TLS with the broker.")
    ca: Path | None = setting(
        "pandatx.messages_ca", kinds.PATH, None, "File of CAs to check the broker with; unset: the system's."
    )
    certificate: Path | None = setting(
        "pandatx.messages_cert", kinds.PATH, None, "Certificate to show to the broker, PEM; a proxy will do."
    )
    key: Path | None = setting(
        "pandatx.messages_key", kinds.PATH, None, "Its private key; unset: in the file of the certificate."
    )
