"""The wire tests ask the same in-memory site as those of the resources."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "resources"))
