"""A server of S3 that checks keys, and a connection to it that can be cut."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

BUCKET = "data"
KEY = {"AWS_ACCESS_KEY_ID": "admin", "AWS_SECRET_ACCESS_KEY": "admin", "AWS_DEFAULT_REGION": "us-east-1"}
POLICY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'


class Cable:
    """Passes the bytes of connections on. After `left` bytes of answers, it cuts every connection."""

    def __init__(self, port: int) -> None:
        self.left: int | None = None
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            for pair in ((caller, server, False), (server, caller, True)):
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with source, target:
            try:
                while data := source.recv(1024):
                    if counted and self.left is not None:
                        self.left -= len(data)
                        if self.left < 0:
                            break
                    target.sendall(data)
            except OSError:
                pass
            for end in (source, target):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.close()


@pytest.fixture(scope="session")
def server():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    arguments = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _await(port, process)
            yield port
        finally:
            process.terminate()


def _await(port: int, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server did not start")


@pytest.fixture(scope="session")
def cable(server):
    """Standard credentials and the address of the server, which from now on checks them."""
    import boto3

    cable = Cable(server)
    address = f"http://127.0.0.1:{server}"
    own = {**KEY, "NO_PROXY": "*", "no_proxy": "*", "AWS_MAX_ATTEMPTS": "1"}  # s3fs tries again, too
    os.environ.update(own)
    iam = boto3.Session().client("iam", endpoint_url=address)
    iam.create_user(UserName="whyserve")
    iam.put_user_policy(UserName="whyserve", PolicyName="all", PolicyDocument=POLICY)
    made = iam.create_access_key(UserName="whyserve")["AccessKey"]
    key = {"AWS_ACCESS_KEY_ID": made["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"]}
    os.environ.update(key, AWS_ENDPOINT_URL=f"http://127.0.0.1:{cable.port}")
    request = urllib.request.Request(f"{address}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})
    urllib.request.urlopen(request, timeout=10).close()
    yield cable
    cable.close()
    for name in (*own, "AWS_ENDPOINT_URL"):
        del os.environ[name]


@pytest.fixture(scope="session")
def bucket(cable, server):
    """The bucket, of boto3."""
    import boto3

    made = boto3.Session().resource("s3", endpoint_url=f"http://127.0.0.1:{server}").Bucket(BUCKET)
    made.create()
    return made


@pytest.fixture
def upload(bucket):
    """upload(folder, prefix): every file of a folder of models."""

    def upload(folder, prefix):
        for path in folder.rglob("*"):
            if path.is_file():
                bucket.upload_file(str(path), f"{prefix}/{path.relative_to(folder)}")

    return upload
