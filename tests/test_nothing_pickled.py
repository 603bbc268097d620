"""Nothing under app/ can load what runs code when it is read."""

import ast

import pytest

from tests.conftest import ROOT

BANNED = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
# `package` sends a Keras model with Python code to a process that it starts itself. No stored file is unpickled.
PACKAGE = ROOT / "app/whyserve/export/package"
TO_ITS_OWN_CHILD = {PACKAGE / "keras_copy.py": {"cloudpickle", "pickle"}, PACKAGE / "keras_child.py": {"pickle"}}
FILES = sorted((ROOT / "app").rglob("*.py"))


def found(text: str) -> set[str]:
    """What a file has of imports that unpickle, and of calls that are told to."""
    wrong = set()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import(names=names):
                wrong |= {name.name for name in names if name.name.split(".")[0] in BANNED}
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in BANNED:
                wrong.add(module)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="load")):
                wrong.add("torch.load")
            case ast.keyword(arg="allow_pickle", value=value) if not _is(value, False):
                wrong.add("allow_pickle")
            case ast.keyword(arg="safe_mode", value=value) if not _is(value, True):
                wrong.add("safe_mode")
            case ast.Constant(value=str(name)) if name in BANNED:
                wrong.add(name)
            case ast.Attribute(attr="register_custom_ops_library"):
                wrong.add("register_custom_ops_library")
    return wrong


def _is(value: ast.expr, wanted: bool) -> bool:
    return isinstance(value, ast.Constant) and value.value is wanted


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_file_unpickles(file):
    assert found(file.read_text(encoding="utf-8")) == TO_ITS_OWN_CHILD.get(file, set())


def test_no_served_code_uses_what_package_sends_to_its_child():
    for file in FILES:
        if file.parent != PACKAGE:
            text = file.read_text(encoding="utf-8")
            assert not [name for name in ("keras_copy", "keras_child") if name in text], file


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from joblib import load",
        "import dill as safe",
        'importlib.import_module("cloudpickle")',
        "numpy.load(file, allow_pickle=True)",
        "numpy.load(file, allow_pickle=chosen)",
        "keras.models.load_model(path, safe_mode=False)",
        "torch.load(path, weights_only=True)",
        "options.register_custom_ops_library(path)",
    ],
)
def test_what_would_is_seen(text):
    assert found(text)
