"""Tables made by a benchmark, put into pages of docs/ between their marks."""

import re
from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = ["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def put(page: str, name: str, content: str) -> None:
    """Replace what stands between the marks of `name`; and print it."""
    print(content, flush=True)
    path = DOCS / page
    text = path.read_text(encoding="utf-8")
    mark = f"<!-- {name} -->"
    assert text.count(mark) == 2, f"{page} has no pair of marks {mark}"
    pattern = re.escape(mark) + ".*" + re.escape(mark)
    path.write_text(re.sub(pattern, lambda _: f"{mark}\n{content}\n{mark}", text, flags=re.DOTALL), encoding="utf-8")
