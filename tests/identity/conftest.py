"""A vomsdir with the servers of two VOs."""

from __future__ import annotations

from pathlib import Path

import pytest
from voms_reading import ATLAS, CMS


@pytest.fixture
def vomsdir(tmp_path: Path) -> Path:
    for server in (ATLAS, CMS):
        server.trust(tmp_path)
    return tmp_path
