"""Stages of exports as forks of a process that has imported their libraries, which takes longer than a small export.

    python -W ignore tests/export/warm.py BACKEND

Stages that `whyserve export` and `whyserve up` start are new processes.
"""

import json
import os
import runpy
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from whyserve.export.stages import stage
from whyserve.imports import importing

MESSAGE_BYTES = 1 << 17


class Fork:
    """A forked stage, with what run_stage uses of subprocess.Popen."""

    def __init__(self, server: socket.socket, arguments: Sequence[str], environment: dict[str, str]) -> None:
        given, self._stdin = os.pipe()
        out, written = os.pipe()
        self._server, self.stdout, self.returncode = server, os.fdopen(out, errors="replace"), 0
        asked = {"arguments": list(arguments), "environment": environment, "folder": str(Path.cwd())}
        socket.send_fds(server, [json.dumps(asked).encode()], [given, written])
        os.close(given)
        os.close(written)
        self._pid = int(server.recv(MESSAGE_BYTES))

    def __enter__(self) -> "Fork":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stdout.close()
        os.close(self._stdin)
        self.returncode = int(self._server.recv(MESSAGE_BYTES))

    def kill(self) -> None:
        os.kill(self._pid, 9)


@contextmanager
def forked_stages() -> Iterator[None]:
    """Let the exports of this process fork their stages. There is one process to fork for each backend of Keras."""
    servers: dict[str, tuple[socket.socket, subprocess.Popen[bytes]]] = {}
    new = stage.start

    def start(arguments: Sequence[str], environment: dict[str, str]) -> Any:
        backend = environment["KERAS_BACKEND"]
        if backend not in servers:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                command = [sys.executable, "-W", "ignore", __file__, backend, str(theirs.fileno())]
                servers[backend] = ours, subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()])
        return Fork(servers[backend][0], arguments, environment)

    stage.start = start
    try:
        yield
    finally:
        stage.start = new
        for connection, process in servers.values():
            connection.close()
            process.wait()


def load(backend: str) -> None:
    """Import what the stages import, also what they import late: torch's exporters, Keras and shap."""
    if backend == "tensorflow":
        import whyserve.export.stages.keras

        return
    import keras  # noqa: F401
    import shap  # noqa: F401
    import torch

    import whyserve.export.stages.rounding
    import whyserve.export.stages.torch  # noqa: F401

    torch.set_num_threads(1)  # a fork has no threads of torch
    torch.onnx.export(torch.nn.Linear(2, 2), (torch.ones(3, 2),), dynamo=True, verbose=False)


def serve(connection: socket.socket) -> None:
    """Fork a stage for each message until the other side closes."""
    while True:
        text, files, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, 2)
        if not text:
            return
        if not (pid := os.fork()):
            run(**json.loads(text), files=files)
        for file in files:
            os.close(file)
        connection.send(str(pid).encode())
        connection.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())


def run(arguments: list[str], environment: dict[str, str], folder: str, files: list[int]) -> None:
    code = 1
    try:
        for file, place in zip((*files, files[1]), range(3), strict=True):
            os.dup2(file, place)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.argv[1:] = arguments
        runpy.run_module("whyserve.export.stages", run_name="__main__", alter_sys=True)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    with importing():
        load(sys.argv[1])
    serve(socket.socket(fileno=int(sys.argv[2])))
