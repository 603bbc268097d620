"""The bill of materials of what runs: one for each image, of what its extra needs and no more. `make sbom`.

sbom.py BOM SITE-PACKAGES FOLDER    BOM: of a whole environment, by cyclonedx-py; FOLDER: where those of the images go
"""

import json
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

IMAGES = ("api", "worker")


def needed(lines: Iterable[str], installed: dict[NormalizedName, Distribution]) -> set[NormalizedName]:
    """All that these requirements bring, with the extras that they name. Raises KeyError for one that is not there."""
    waiting = [Requirement(line) for line in lines]
    done: set[tuple[NormalizedName, str]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in done:
                continue
            done.add((name, extra))
            brought = [Requirement(line) for line in installed[name].requires or []]
            waiting += [each for each in brought if not each.marker or each.marker.evaluate({"extra": extra})]
    return {name for name, _ in done}


def of_image(whole: dict[str, Any], name: str, names: set[NormalizedName]) -> dict[str, Any]:
    """A whole environment's bill, without what is not among the names."""
    root = whole["metadata"]["component"]
    parts = [part for part in whole["components"] if canonicalize_name(part["name"]) in names]
    refs = {part["bom-ref"] for part in parts} | {root["bom-ref"]}
    links = [each for each in whole["dependencies"] if each["ref"] in refs]
    return {
        **whole,
        "metadata": {**whole["metadata"], "component": {**root, "name": name}},
        "components": parts,
        "dependencies": [
            {"ref": each["ref"], "dependsOn": [ref for ref in each.get("dependsOn", []) if ref in refs]}
            for each in links
        ],
    }


def main(bom: str, packages: str, folder: str) -> None:
    whole = json.loads(Path(bom).read_text())
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    installed = {canonicalize_name(each.name): each for each in distributions(path=[packages])}
    version = installed[canonicalize_name(project["name"])].version
    for extra in IMAGES:
        names = needed([*project["dependencies"], *project["optional-dependencies"][extra]], installed)
        made = of_image(whole, f"{project['name']}-{extra}", names)
        path = Path(folder, f"{project['name']}-{extra}-{version}.cdx.json")
        path.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")
        sys.stdout.write(f"{path}: {len(made['components'])} packages\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
