"""Write the tables of a benchmark to pages of docs/."""

import re
from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def put(page: str, name: str, content: str) -> None:
    """Print `content`, and replace the text between the two marks <!-- name --> of a page with it."""
    print(content, flush=True)
    path = DOCS / page
    text = path.read_text(encoding="utf-8")
    mark = f"<!-- {name} -->"
    assert text.count(mark) == 2, f"docs/{page} needs two marks {mark}"
    pattern = re.escape(mark) + ".*" + re.escape(mark)
    path.write_text(re.sub(pattern, lambda _: f"{mark}\n{content}\n{mark}", text, flags=re.DOTALL), encoding="utf-8")
