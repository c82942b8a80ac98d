"""Daemon scripts that never end, for a server whose whole process pool hangs: ``package = bench``, module hanging.

``arguments`` says how: sleep (with a program of its own), lock (a row that the first one holds), or print for ever.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any


def main(argv: tuple[Any, ...] = (), tbuf: Any = None, **_: Any) -> None:
    """Hang until killed."""
    how = argv[1] if len(argv) > 1 else "sleep"
    if how == "lock":
        with tbuf.connection() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT major FROM pandadb_version FOR UPDATE")
            time.sleep(86_400)
    elif how == "print":
        while True:
            sys.stdout.write("a line of a script that will not stop\n" * 10)
            time.sleep(0.001)
    subprocess.run(["sleep", "86400"], check=False)
