"""The nice level of the worker's process and of its session."""

import subprocess
import sys

import pytest

from whyserve.processes.priority import AUTOGROUP

SHOW = """
import os
from tests.processes.test_priority import session_level
from whyserve.processes.priority import lower_priority
before = session_level()
lower_priority(5)
print(os.nice(0), before, session_level())
"""


def session_level() -> str:
    """The nice level of this process's session, or "none": the file is absent, or empty where the feature is off."""
    words = AUTOGROUP.read_text().split() if AUTOGROUP.exists() else []
    return words[-1] if words else "none"


@pytest.mark.parametrize("leads", [True, False], ids=["leader of a session", "member of a session"])
def test_only_the_leader_changes_the_level_of_its_session(leads):
    nice, before, after = subprocess.run(
        [sys.executable, "-c", SHOW], start_new_session=leads, capture_output=True, text=True, check=True
    ).stdout.split()
    assert nice == "5"
    # A new session may have a level although this process's session has none. So the process reports its own.
    assert after == ("5" if leads and before != "none" else before)
