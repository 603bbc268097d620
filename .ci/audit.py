"""Does anything that is installed have a known vulnerability? `make audit`.

Asks pip-audit for every package of an environment, and says how many could be asked about: a package index that knows
of no vulnerabilities, as mirrors do not, answers as if there were none.

    audit.py SITE-PACKAGES [--if-reached]    --if-reached: where nothing can be asked, say so and end well
"""

import json
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from typing import Any

OURS = "whyserve"


def installed(folder: str) -> list[str]:
    """name==version, without the +cpu that an index of advisories does not know."""
    found = {dist.name: dist.version.partition("+")[0] for dist in distributions(path=[folder])}
    return [f"{name}=={version}" for name, version in sorted(found.items()) if name != OURS]


def ask(packages: list[str]) -> tuple[dict[str, Any], str]:
    """pip-audit's report, and its last line of trouble. Nothing is in the report where it ended before it had one."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(packages))
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner=off"]
        done = subprocess.run(  # noqa: S603
            [*command, "--format=json", "--requirement", file.name], capture_output=True, text=True, check=False
        )
    trouble = (done.stderr.strip().splitlines() or [""])[-1]
    return (json.loads(done.stdout) if done.stdout.startswith("{") else {"dependencies": []}), trouble


def judge(report: dict[str, Any], trouble: str) -> tuple[bool, list[str], str]:
    """Whether anything could be asked about, a line for each vulnerability, and all in a sentence."""
    asked = [each for each in report["dependencies"] if "skip_reason" not in each]
    found = [
        f"{each['name']} {each['version']}: {vulnerability['id']}, mended in "
        + (", ".join(vulnerability["fix_versions"]) or "no version yet")
        for each in asked
        for vulnerability in each["vulns"]
    ]
    if not asked:
        return False, [], f"nothing was audited: the index of vulnerabilities cannot be reached here. {trouble}".strip()
    skipped = [each["name"] for each in report["dependencies"] if "skip_reason" in each]
    unknown = f"; unknown to the index: {', '.join(skipped)}" if skipped else ""
    return True, found, f"{len(asked)} packages audited, {len(found)} vulnerabilities{unknown}"


def main(folder: str, *flags: str) -> None:
    reached, found, words = judge(*ask(installed(folder)))
    sys.stdout.write("\n".join([*found, words, ""]))
    sys.exit(bool(found) or (not reached and "--if-reached" not in flags))


if __name__ == "__main__":
    main(*sys.argv[1:])
