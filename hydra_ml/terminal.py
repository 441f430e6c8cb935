"""How tables and pages look in a terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hydra_ml.shown_text import unescaped


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Rows as lines with columns two spaces apart; the first row is underlined; `right`: columns set flush right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
    lines.insert(1, "-" * max(len(line.rstrip()) for line in lines))
    return "\n".join(line.rstrip() for line in lines)


def plain(markdown: str) -> str:
    """A page of our own Markdown as text: titles underlined, tables in columns, no marks."""
    lines: list[str] = []
    table: list[list[str]] = []
    for line in [*markdown.splitlines(), ""]:
        if line.startswith("|"):
            table.append([unescaped(cell.strip().replace("**", "")) for cell in line.strip().strip("|").split("|")])
            continue
        if table:
            right = [i for i, cell in enumerate(table[1]) if cell.endswith(":")]
            lines += aligned([table[0], *table[2:]], right).splitlines()
            table = []
        title = line.lstrip("# ") if line.startswith("#") else ""
        lines += [title, "=" * len(title)] if title else [line.replace("**", "")]
    return unescaped("\n".join(lines)).rstrip()
