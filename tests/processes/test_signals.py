"""A signal may arrive at any instruction, also while another one is handled."""

import os
import signal
import subprocess
import sys
import time

import pytest

# Waits as the supervisor does, until SIGTERM.
SUPERVISOR = """
import signal
from whyserve.processes import supervisor
from whyserve.settings import UpSettings
supervisor.LOOK_S = 1e-6
waiting = supervisor.Supervisor(UpSettings(), print)
waiting.catch_signals()
print("ready", flush=True)
while not waiting.stopping:
    waiting.wait()
"""
WORKER = """
import signal, threading
from whyserve.processes.worker import stop_on_signal
stopping = threading.Event()
signal.signal(signal.SIGCHLD, lambda *_: None)
stop_on_signal(stopping.set)
print("ready", flush=True)
while not stopping.wait(1e-6):
    pass
"""
SIGNALS, WAIT_S = 20_000, 20


@pytest.mark.parametrize("program", [SUPERVISOR, WORKER], ids=["supervisor", "worker"])
def test_signals_in_quick_succession_never_block_the_process(program):
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            for number in range(SIGNALS):
                os.kill(process.pid, signal.SIGCHLD)
                if number % 50 == 0:
                    time.sleep(0.001)
            for _ in range(50):
                os.kill(process.pid, signal.SIGTERM)
            # Python sets the default action of SIGTERM again when it ends, so one of them may still end it.
            assert process.wait(WAIT_S) in (0, -signal.SIGTERM)
        finally:
            process.kill()
