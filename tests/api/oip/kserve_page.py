"""The program of docs/protocols.md with KServe's client, in the client's own environment, and what the page shows."""

import re
import subprocess

from tests.conftest import ROOT

PYTHON = ROOT / ".venv-kserve" / "bin" / "python"
PAGE = (ROOT / "docs" / "protocols.md").read_text()
(PROGRAM,) = re.findall(r"```python\n(import asyncio\n.*?)```", PAGE, re.DOTALL)
(TRANSCRIPT,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)


def check_transcript(address: str) -> None:
    """The program prints the transcript. Numbers may differ in the last digits, as machines do."""
    assert PYTHON.exists(), "make .venv-kserve/.installed makes the client's environment"
    done = subprocess.run(
        [PYTHON, "-W", "ignore", "-c", PROGRAM.replace("http://localhost:8000", address)],
        capture_output=True, text=True, timeout=120, check=False, env={"NO_PROXY": "*"},
    )  # fmt: skip
    assert _rounded(done.stdout) == _rounded(TRANSCRIPT), done.stderr


def _rounded(text: str) -> str:
    return re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.2f}", text)
