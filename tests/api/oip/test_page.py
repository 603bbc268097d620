"""The commands in docs/protocols.md run and print what it shows."""

import json
import re
import subprocess
import sys

import pytest

from tests.api.oip.kserve_page import check_transcript
from tests.conftest import ROOT
from tests.test_readme import holds

PAGE = (ROOT / "docs" / "protocols.md").read_text()
COMMANDS = re.findall(r"```sh\n(.*?)```\n+```json\n(.*?)```", PAGE, re.DOTALL)
(PROGRAM,) = re.findall(r"```python\n(import numpy.*?)```", PAGE, re.DOTALL)


def here(block, service):
    return block.replace("localhost:8000", service.address.removeprefix("http://"))


@pytest.mark.parametrize("place", range(len(COMMANDS)))
def test_a_command_prints_the_documented_answer(place, service):
    command, answer = COMMANDS[place]
    done = subprocess.run(
        ["bash", "-euc", here(command, service)], capture_output=True, text=True, timeout=60, check=True
    )
    holds(json.loads(answer), json.loads(done.stdout))


def test_the_program_prints_the_prediction(service):
    done = subprocess.run(
        [sys.executable, "-c", here(PROGRAM, service)], capture_output=True, text=True, timeout=60, check=True
    )
    assert float(done.stdout.strip().strip("[]")) == pytest.approx(274.494, abs=1e-3)


def test_the_program_of_kserve_prints_the_transcript(service):
    check_transcript(service.address)


def test_every_documented_path_exists(client):
    """Each path in the table answers an empty request in the protocol's form."""
    verb, asked = "", 0
    for span in re.findall(r"`([^`]+)`", "".join(re.findall(r"^\| .*\|$", PAGE, re.MULTILINE))):
        place = span
        if " " in span:
            verb, place = span.split(" ")
        if not place.startswith("/v"):
            continue
        place = place.replace("{model}", "fclayer").replace("[/versions/{version}]", "/versions/1")
        answer = client.request(verb, place)
        allowed = {200} if verb == "GET" or place.endswith("/index") else {400}
        assert answer.status_code in allowed, (verb, place, answer.text)
        assert answer.headers["content-type"] == "application/json"
        asked += 1
    assert asked == 13
