"""Files of users, of Harvester and of the task engine: who takes them in, and who knows where they are."""

from __future__ import annotations

import re
import socket
from typing import Final

from attrs import frozen

from pandatx.clients.cache_nodes import CacheNodes
from pandatx.clients.sandboxes import LARGEST, LIMIT, Sandboxes
from pandatx.clients.web import Web
from pandatx.config import Config
from pandatx.foundations import Foundations
from pandatx.services.checkpoints import Checkpoints
from pandatx.services.logs_of_tasks import TaskLogs
from pandatx.services.owners import Owners
from pandatx.services.sandboxes import SandboxBook
from pandatx.services.sandboxes_elsewhere import SandboxesElsewhere
from pandatx.services.uploads import Uploads

NOTES: Final = "sandboxes"
"""The folder in the state directory for what the database does not know of yet."""


@frozen(kw_only=True)
class Files:
    """``book`` knows where sandboxes lie, ``peers`` asks other servers about theirs, ``elsewhere`` fetches them; the
    others keep what comes in.
    """

    book: SandboxBook
    peers: Sandboxes
    elsewhere: SandboxesElsewhere
    uploads: Uploads
    logs: TaskLogs
    checkpoints: Checkpoints


def make_files(ground: Foundations, owners: Owners, web: Web) -> Files:
    """``web`` is what files of other servers are fetched with."""
    config, clock, database = ground.config, ground.clock, ground.database
    files = config.files
    cache_dir, host = files.cache_dir, sandbox_host(config)
    notes = config.process.state_dir / NOTES
    book = SandboxBook(database, clock, owners, host, own_hosts(config), cache_dir, notes)
    nodes = CacheNodes(web, clock.reactor, config.http.url_https_port, host)
    peers = Sandboxes(
        Web(clock.reactor, config.http.ca_dir, config.outside.client_certificate, LIMIT, LARGEST),
        config.http.url_https_port,
    )
    elsewhere = SandboxesElsewhere(book, nodes, peers, cache_dir)
    compressed = tuple(map(re.compile, files.compress_file_names))
    return Files(
        book=book,
        peers=peers,
        elsewhere=elsewhere,
        uploads=Uploads(cache_dir, book, clock, compressed, files.record_sandbox_info, elsewhere.touch),
        logs=TaskLogs(cache_dir),
        checkpoints=Checkpoints(database, cache_dir),
    )


def sandbox_host(config: Config) -> str:
    """The name under which files of this very server are found."""
    return config.files.sandbox_host or socket.getfqdn()


def own_hosts(config: Config) -> frozenset[str]:
    """The names of hosts whose files are those of this server."""
    return frozenset((sandbox_host(config), socket.getfqdn(), socket.gethostname(), "localhost"))
