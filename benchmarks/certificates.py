"""Write the certificates of the exported models to a table in docs/explaining.md."""

import json
from pathlib import Path
from typing import Any

from benchmarks.pages import put, table


def main() -> None:
    lines = []
    methods: list[str] = []
    for path in sorted(Path("artifacts").glob("*/manifest.json")):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        certificate = manifest["certificate"]
        methods = list(certificate["methods"])
        cells = [cell(certificate["methods"][name], name == certificate["default"]) for name in methods]
        lines.append([manifest["spec"]["name"], *cells])
    put("explaining.md", "certificates", table(["model", *methods], lines))


def cell(figures: dict[str, Any], is_default: bool) -> str:
    if not figures["fits"]:
        return "–"
    figures = figures["within_budget"] if is_default and "within_budget" in figures else figures
    distance = "?" if figures["distance"] is None else f"{figures['distance']:.2g}"
    words = f"{distance} · {figures['ms_per_row']:.2g} ms"
    return f"**{words}**" if is_default else words
