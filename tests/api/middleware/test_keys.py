"""Key files: valid and invalid lines."""

import subprocess
import sys

import pytest

from whyserve.api.middleware.keys import SCOPES, find, fresh, read_keys
from whyserve.errors import ConfigurationError


def test_a_new_key_matches_its_line():
    secret, line = fresh("dashboard", ["predict", "explain"])
    other, another = fresh("dashboard", ["admin"])
    keys = read_keys(f"# ours\n{line} # since May\n\n{another}", "keys")
    found = find(keys, secret.encode())
    assert found is not None
    assert (found.name, sorted(found.scopes)) == ("dashboard", ["explain", "predict"])
    assert find(keys, other.encode()) is keys[1]
    assert find(keys, secret[:-1].encode()) is None
    assert find(keys, b"") is None
    assert secret not in line
    assert len({fresh("a", ["admin"])[0] for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "contains no key"),
        ("# nothing", "contains no key"),
        ("dashboard predict", "keys, line 1: must be NAME SCOPES SHA256"),
        ("dashboard predict whyserve_abc", "keys, line 1: must be NAME SCOPES SHA256"),
        (f"a predict {'0' * 64};b rule {'0' * 64}", f"keys, line 2: the scopes must be some of {', '.join(SCOPES)}"),
        (f"a/b predict {'0' * 64}", "must be NAME SCOPES SHA256"),
    ],
)
def test_an_invalid_line_is_named_but_not_shown(text, words):
    with pytest.raises(ConfigurationError) as caught:
        read_keys(text, "keys")
    assert words in caught.value.message
    assert "whyserve_abc" not in caught.value.message


def test_the_command_prints_a_key_and_its_line():
    done = subprocess.run(
        [sys.executable, "-m", "whyserve.cli", "key", "ci", "--scopes", "admin"],
        capture_output=True,
        text=True,
        check=True,
    )
    key, line = (text.rpartition(": ")[2] for text in done.stdout.splitlines())
    found = find(read_keys(line, "keys"), key.encode())
    assert found is not None
    assert (found.name, sorted(found.scopes)) == ("ci", ["admin"])
    wrong = subprocess.run(
        [sys.executable, "-m", "whyserve.cli", "key", "ci", "--scopes", "all"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert wrong.returncode == 1
    scopes = "predict, explain, record, erase, admin, separated by commas without spaces"
    assert wrong.stderr == f"whyserve key: the key: the scopes must be some of {scopes}\n"
