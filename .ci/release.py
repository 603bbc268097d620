"""Build what a tag publishes, and check it. `make release TAG=v0.1.0`.

release.py TAG FOLDER    FOLDER gets the wheel, constraints.txt, the build context of the images and SHA256SUMS. The
                         bills of materials of `make sbom` must be there.
"""

import fnmatch
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from packaging.utils import canonicalize_name

PIN = re.compile(r"^([\w.-]+)(?:\[.*\])?==([\w.!-]+)", re.M)
# What `docker build`, `docker compose` and `kubectl` read.
CONTEXT = ("Dockerfile", ".dockerignore", "docker-compose.yml", ".env.example", "app", "models", "docker", "deploy",
           "pyproject.toml", "constraints.txt", "LICENSE")  # fmt: skip


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607
    if done.returncode:
        sys.exit(done.stderr.strip())
    return done.stdout.strip()


def build(tag: str, folder: Path) -> list[Path]:
    """The wheel, constraints.txt and the build context of a tag or commit, made from its files alone."""
    folder = folder.absolute()
    with tempfile.TemporaryDirectory() as work:
        archive = Path(work, "all.tar")
        git("archive", "-o", str(archive), tag)
        with tarfile.open(archive) as files:
            files.extractall(work, filter="data")
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "wheels"]
        subprocess.run(command, cwd=work, capture_output=True, check=True)  # noqa: S603
        (made,) = Path(work, "wheels").glob("*.whl")
        wheel = folder / made.name
        wheel.write_bytes(made.read_bytes())
        (folder / "constraints.txt").write_bytes(Path(work, "constraints.txt").read_bytes())
    context = folder / f"{'-'.join(wheel.name.split('-')[:2])}-images.tar.gz"
    git("archive", "-o", str(context), tag, *CONTEXT)
    return [wheel, folder / "constraints.txt", context]


def faults(tag: str, wheel: Path, context: Path) -> list[str]:
    """What is wrong with a wheel and a build context."""
    version = wheel.name.split("-")[1]
    found = [] if tag.removeprefix("v") == version else [f"the tag is {tag}, and the package's version {version}"]
    tracked = {
        name.removeprefix("app/") for name in git("ls-tree", "-r", "--name-only", tag, "app/whyserve").split("\n")
    }
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    found += [f"not in the wheel: {name}" for name in sorted(tracked - packed)]
    found += [f"in the wheel and not in the tag: {name}" for name in sorted(packed - tracked)]
    with tarfile.open(context) as files:
        names = {name.rstrip("/") for name in files.getnames()}
        dockerfile = files.extractfile("Dockerfile")
        text = dockerfile.read().decode() if dockerfile else ""
    if f"ARG VERSION={version}\n" not in text:
        found.append(f"Dockerfile: VERSION is not {version}")
    for line in re.findall(r"^COPY (?!--from)(?:--\S+ )*(.*)$", text, re.M):
        found += [f"not in the build context: {each}" for each in line.split()[:-1] if not _has(names, each)]
    return found


def _has(names: set[str], pattern: str) -> bool:
    return pattern == "." or any(fnmatch.fnmatch(name, pattern.strip("./")) for name in names)


def drifted(bill: Path, constraints: Path) -> list[str]:
    """The packages of a bill of materials that are not of the version that the constraints name."""
    pinned = {canonicalize_name(name): version for name, version in PIN.findall(constraints.read_text())}
    parts = {canonicalize_name(part["name"]): part["version"] for part in json.loads(bill.read_text())["components"]}
    return [
        f"{bill.name}: {name} {version}, but constraints.txt has {pinned[name]}; run `make install`"
        for name, version in sorted(parts.items())
        if name in pinned and version.partition("+")[0] != pinned[name]  # +cpu
    ]


def main(tag: str, folder: str) -> None:
    target = Path(folder)
    wheel, constraints, context = build(tag, target)
    wrong = faults(tag, wheel, context)
    bills = [target / f"whyserve-{image}-{wheel.name.split('-')[1]}.cdx.json" for image in ("api", "worker")]
    for bill in bills:
        wrong += drifted(bill, constraints) if bill.exists() else [f"no bill of materials: {bill.name}"]
    if wrong:
        sys.exit("\n".join(wrong))
    published = [wheel, constraints, context, *bills]
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in published]
    (target / "SHA256SUMS").write_text("".join(lines))
    sys.stdout.write("".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
