"""The folder of the sockets: nobody else's, where everybody may create folders."""

import os
from pathlib import Path

import pytest

from whyserve.delivery.unix_server import socket_folder
from whyserve.errors import ConfigurationError


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for everybody, as /tmp is."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


LONG = Path("a" * 60)


def test_an_own_folder_is_used(shared):
    folder = socket_folder(shared / LONG)
    assert folder.parent == shared
    assert folder.stat().st_mode & 0o777 == 0o700
    assert socket_folder(shared / LONG) == folder


def test_a_folder_that_everybody_may_write_to_is_refused(shared):
    socket_folder(shared / LONG).chmod(0o777)
    with pytest.raises(ConfigurationError, match="WHYSERVE_STATE: other users may write to the folder of the sockets"):
        socket_folder(shared / LONG)


def test_a_link_is_refused(shared, tmp_path):
    folder = socket_folder(shared / LONG)
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="WHYSERVE_STATE"):
        socket_folder(shared / LONG)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_another_user_s_folder_is_refused(shared):
    os.chown(socket_folder(shared / LONG), 12345, 12345)
    with pytest.raises(ConfigurationError, match="WHYSERVE_STATE"):
        socket_folder(shared / LONG)
