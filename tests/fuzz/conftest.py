"""The tests of this folder share the time that there is (fuzzing.py)."""

from pathlib import Path

import fuzzing

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    fuzzing.share(sum(1 for item in items if HERE in item.path.parents))
