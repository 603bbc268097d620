"""The page's sources, read without Node: no import cycles, and a description of every explanation method."""

import re
from graphlib import TopologicalSorter
from posixpath import dirname, join, normpath

from tests.conftest import ROOT

UI = ROOT / "ui"
SOURCES = UI / "src"
# `import … from "./a"`, `import type`, `export … from`, `import "./a"` and `import("./a")`; packages are left out.
IMPORT = re.compile(r"""\b(?:import|export)\b[^;'"]*?["'](\.[^'"]+)["']""")


def imports():
    """What each module imports, type-only imports included, as paths below src without the suffix."""
    found = {}
    for path in SOURCES.rglob("*.ts*"):
        if not path.name.endswith(".d.ts"):
            module = path.relative_to(SOURCES).with_suffix("").as_posix()
            found[module] = {normpath(join(dirname(module), name)) for name in IMPORT.findall(path.read_text())}
    return found


def test_every_module_but_the_entry_is_imported():
    found = imports()
    assert found.keys() - set().union(*found.values()) == {"main"}


def test_the_modules_have_no_import_cycle():
    TopologicalSorter(imports()).prepare()  # raises CycleError, which names the modules


def test_the_page_describes_the_methods_of_the_api(client):
    request = client.get("/openapi.json").json()["components"]["schemas"]["WineExplainRequest"]
    methods = set(request["properties"]["method"]["enum"]) - {"auto"}
    described = re.findall(r"^  (\w+): \{$", (SOURCES / "methods.ts").read_text(), re.MULTILINE)
    assert set(described) == methods
    section = (UI / "help.html").read_text().split('id="method"')[1].split("<h2")[0]
    assert set(re.findall(r"<b>(\w+)</b>", section)) == methods
