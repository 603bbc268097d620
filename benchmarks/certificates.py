"""Write the certificates of the exported models to a table in docs/explaining.md."""

import json
from pathlib import Path
from typing import Any

from benchmarks.pages import put, table
from whyserve.model.choice import default_figures


def main() -> None:
    lines = []
    methods: list[str] = []
    for path in sorted(Path("artifacts").glob("*/manifest.json")):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        certificate = manifest["certificate"]
        methods, default = list(certificate["methods"]), certificate["default"]
        cells = [cell(figures) for figures in certificate["methods"].values()]
        cells[methods.index(default)] = f"**{cell({'fits': True, **default_figures(certificate)})}**"
        lines.append([manifest["spec"]["name"], players(certificate["players"]), *cells])
    put("explaining.md", "certificates", table(["model", "players", *methods], lines))


def players(wanted: dict[str, Any]) -> str:
    """The players of a certificate, such as "patches [3, 3]"."""
    found = [f"{word} {value}" for words in wanted.values() for word, value in words.items()]
    return ", ".join(found) or "elements"


def cell(figures: dict[str, Any]) -> str:
    if not figures["fits"]:
        return "–"
    distance = "?" if figures["distance"] is None else f"{figures['distance']:.2g}"
    samples = f" · {figures['samples']} samples" if "samples" in figures else ""
    return f"{distance} · {figures['counted_ms']:.2g} ms{samples}"
