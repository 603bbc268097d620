"""Folders with a model whose certificate advises against one of its methods."""

import json
import shutil
from pathlib import Path

from tests.conftest import MODELS


def copy_doubtful(artifacts: Path, root: Path) -> Path:
    """Copy wine to `models` and `artifacts` below `root`. Its certificate says that deep is far from the reference."""
    shutil.copytree(MODELS / "wine", root / "models" / "wine")
    shutil.copytree(artifacts / "wine", root / "artifacts" / "wine")
    path = root / "artifacts" / "wine" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["certificate"]["methods"]["deep"]["distance"] = 0.45
    path.write_text(json.dumps(manifest))
    return root
