"""The nice level of the worker's process and of its session."""

import subprocess
import sys

import pytest

from whyserve.processes.priority import AUTOGROUP

SHOW = f"""
import os
from pathlib import Path
from whyserve.processes.priority import lower_priority
group = Path("{AUTOGROUP}")
lower_priority(5)
print(os.nice(0), group.read_text().split()[-1] if group.exists() else "none")
"""


@pytest.mark.parametrize("leads", [True, False], ids=["leader of a session", "member of a session"])
def test_only_the_leader_changes_the_level_of_its_session(leads):
    shown = subprocess.run(
        [sys.executable, "-c", SHOW], start_new_session=leads, capture_output=True, text=True, check=True
    ).stdout.split()
    before = AUTOGROUP.read_text().split()[-1] if AUTOGROUP.exists() else "none"
    assert shown == ["5", "5" if leads and AUTOGROUP.exists() else before]
