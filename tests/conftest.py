"""What tests share: exported models, and a service that really runs."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

# Keras reads this once, at its first import: in tests as in the worker it runs on torch.
os.environ["KERAS_BACKEND"] = "torch"
# Nothing is written outside the checkout.
STATE = Path(__file__).parent.parent / ".whyserve"
os.environ.setdefault("KERAS_HOME", str(STATE / "keras"))
os.environ.setdefault("MPLCONFIGDIR", str(STATE / "matplotlib"))

import httpx  # noqa: E402
import pytest  # noqa: E402

from tests.export.warm import forked_stages  # noqa: E402
from whyserve.imports import importing, leave_out_imported  # noqa: E402
from whyserve.model.arrays import read_npz  # noqa: E402
from whyserve.model.builds import BUILDS  # noqa: E402
from whyserve.model.rows import as_row  # noqa: E402
from whyserve.model.spec import read_spec  # noqa: E402

ROOT = Path(__file__).parent.parent
# Tests that start processes, export models or take long, whatever fixtures they use.
NOT_QUICK = (
    "batch", "clients", "docker", "explain", "export", "faults", "kinds", "notebook", "processes", "queues", "remote",
    "tables", "ui", "test_extending.py", "test_imports.py", "test_kinds.py", "test_readme.py",
)  # fmt: skip
# Folders and files with few and long tests: they begin first, so that two processes end at about the same time.
LONG_FIRST = (
    "test_redis_services.py", "faults", "export", "processes", "test_readme.py", "test_kinds.py", "kinds",
    "test_extending.py", "test_service.py", "test_kept.py", "clients", "explain",
)  # fmt: skip
# The folders that `make test-faults` collects.
FAULTS = ("faults", "delivery")
# The mark of all tests of a file.
OF_ALL = re.compile(r"^pytestmark = \[?pytest\.mark\.(\w+)", re.MULTILINE)
MODELS = ROOT / "models"
START_S = 120.0
# Marks of what has a make target of its own.
SUITES = ("corpus", "docker", "faults", "fuzz", "ray", "s3", "slow", "ui")


def pytest_configure() -> None:
    """Let the processes that tests start react to SIGINT: a shell starts a background command with SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the files of suites that do not run: the imports of their libraries take seconds."""
    if collection_path.is_dir() or not collection_path.name.startswith("test_"):
        return None
    marked, chosen = OF_ALL.search(collection_path.read_text()), config.option.markexpr
    if not marked or marked[1] not in SUITES or not chosen:
        return None
    # The expressions of pytest's -m are Python's.
    return None if eval(chosen, {}, defaultdict(bool, {marked[1]: True})) else True


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import all tests without garbage collections. Later collections leave out the libraries."""
    with importing():
        collected = yield
    leave_out_imported()
    return collected


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make check` runs (tests without exported models, services and long computations); long files first."""
    for item in items:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        needs = getattr(item, "fixturenames", ())
        slow = any(item.get_closest_marker(name) for name in SUITES)
        if item.get_closest_marker("faults") and folder not in FAULTS:
            raise pytest.UsageError(f"{item.nodeid}: `make test-faults` collects {' and '.join(FAULTS)} only")
        if folder not in NOT_QUICK and "artifacts" not in needs and not slow:
            item.add_marker(pytest.mark.quick)
    order = {name: place for place, name in enumerate(LONG_FIRST)}
    items.sort(
        key=lambda item: min(order.get(part, len(order)) for part in item.path.relative_to(ROOT / "tests").parts)
    )


def shipped() -> list[str]:
    """The names of the models in the repository."""
    return sorted(path.parent.name for path in MODELS.glob("*/model.toml"))


def rows_of(name: str, count: int) -> list[dict[str, Any]]:
    """Instances of a shipped model: its background's rows, again from the first where there are no more."""
    spec, arrays = read_spec(MODELS / name), read_npz((MODELS / name / "background.npz").read_bytes())
    total = len(next(iter(arrays.values())))
    return [as_row(spec, arrays, number % total) for number in range(count)]


def example(name: str) -> dict[str, Any]:
    """A fresh copy of a model's example request."""
    request: dict[str, Any] = json.loads((MODELS / name / "example.json").read_text())
    return request


def numbers_of(part: Any) -> Any:
    """The numbers of one attribution, whether of a feature, of an array or of a text's tokens."""
    if isinstance(part, list) and isinstance(part[0], dict):
        return [token["value"] for token in part]
    return part


class Running:
    """A process of ours, its output read as it comes, and a client of its address."""

    def __init__(self, arguments: list[str], environment: dict[str, str] | None = None) -> None:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("WHYSERVE_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "whyserve.cli", *arguments],
            cwd=ROOT,
            env={**clean, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip())
                self._changed.notify_all()
        # Its output has ended, and so will it: whoever waits for a line need not wait for the time-out.
        self.process.wait()
        with self._changed:
            self._changed.notify_all()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def await_line(self, pattern: str, timeout_s: float = START_S) -> re.Match[str]:
        """The first line, past or to come, in which the pattern is found."""

        def found() -> re.Match[str] | None:
            return next((match for line in self.lines if (match := re.search(pattern, line))), None)

        with self._changed:
            if not self._changed.wait_for(lambda: found() or self.process.poll() is not None, timeout_s) or not found():
                raise AssertionError(f"no line with {pattern!r} in:\n{self.output}")
        match = found()
        assert match is not None
        return match

    @property
    def address(self) -> str:
        return self.await_line(r"ready on (http://\S+)")[1]

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=60, trust_env=False, **options)

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 40.0) -> int:
        """Send a signal, wait for the end and give the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(timeout_s)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self._reader.join(10)
            assert self.process.stdout is not None
            self.process.stdout.close()
        return code


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """The shipped models, exported; what is current already is left as it is."""
    folder = ROOT / "artifacts"
    done = subprocess.run(
        [sys.executable, "-m", "whyserve.cli", "export", "--models", str(MODELS), "--artifacts", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def some(artifacts: Path, root: Path, *names: str) -> tuple[Path, Path]:
    """The models folder and the artifacts folder of these shipped models alone.

    A service starts with fclayer, penguins and places in a fifth of the processor time that it needs for all models:
    they need no Keras, and nothing is to be prepared.
    """
    for name in names:
        build = (artifacts / name).resolve()
        shutil.copytree(MODELS / name, root / "models" / name)
        shutil.copytree(build, root / "artifacts" / BUILDS / build.name)
        (root / "artifacts" / name).symlink_to(Path(BUILDS, build.name))
    return root / "models", root / "artifacts"


@pytest.fixture(scope="session")
def light(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of fclayer, for tests that start services."""
    return some(artifacts, tmp_path_factory.mktemp("light"), "fclayer")


@pytest.fixture(scope="session", autouse=True)
def _forked_stages() -> Iterator[None]:
    with forked_stages():
        yield


def start_service(artifacts: Path, state: Path, *flags: str, models: Path = MODELS, **environment: str) -> Running:
    """`whyserve up` on a free port and a queue of its own."""
    folders = ["--models", str(models), "--artifacts", str(artifacts), "--state", str(state)]
    return Running(["up", "--port", "0", *folders, *flags], environment)


@pytest.fixture(scope="session")
def service(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service for all tests that only ask it things."""
    running = start_service(artifacts, tmp_path_factory.mktemp("state"))
    running.await_line(r"ready on ")
    yield running
    assert running.stop() == 0, running.output


@pytest.fixture(scope="session")
def client(service: Running) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client
