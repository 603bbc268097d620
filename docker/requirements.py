"""Print what one part of the program needs: the common dependencies of pyproject.toml and those of an extra."""

import sys
import tomllib
from pathlib import Path


def main(extra: str) -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    sys.stdout.write("\n".join([*project["dependencies"], *project["optional-dependencies"][extra], ""]))


if __name__ == "__main__":
    main(sys.argv[1])
