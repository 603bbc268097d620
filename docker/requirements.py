"""Print requirements from pyproject.toml: the common dependencies and those of the given extras (a,b)."""

import sys
import tomllib
from pathlib import Path


def main(extras: str) -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    chosen = [each for extra in extras.split(",") if extra for each in project["optional-dependencies"][extra]]
    sys.stdout.write("\n".join([*project["dependencies"], *chosen, ""]))


if __name__ == "__main__":
    main(sys.argv[1])
