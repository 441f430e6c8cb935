"""Text from outside, made fit to be shown: names of files, ids, words of users, servers and operators.

Whoever writes it decides neither how a page looks nor what it does: characters that are not seen are written out, and
Markdown and HTML in it are no markup.
"""

from __future__ import annotations

import re

# Not seen, or they change how others are seen: controls, line separators, marks of direction, fillers of no width,
# half characters, and Unicode's tags, in which a text can hide another.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0e\ufeff"
    "\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
_MARKUP = re.compile(r"[&<>\"'\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])|(?<=\w):(?=//)|^[#+=-]|^\s*\d+(?=[.)])")
_ENTITY = re.compile(r"&#(\d+);")


def visible(text: str, *, keep: str = "") -> str:
    """The text with every character that is not seen as its escape, such as \\u202e; those in `keep` stay."""

    def escaped(found: re.Match[str]) -> str:
        """One character written out."""
        char = found[0]
        return char if char in keep else f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"

    return _UNSEEN.sub(escaped, text)


def visible_lines(text: str) -> str:
    """The same of a text that may have several lines."""
    return visible(text, keep="\n\t")


def inert(text: str) -> str:
    """One line that Markdown shows as it is written, letter for letter: no element, link, image or table cell of it.

    What would be markup is given as HTML's numbered entities, which `unescaped` takes back.
    """
    return _MARKUP.sub(lambda found: "".join(f"&#{ord(char)};" for char in found[0]), visible(text))


def unescaped(markdown: str) -> str:
    """What `inert` was made of, but for unseen characters, which stay written out."""
    return _ENTITY.sub(lambda found: chr(int(found[1])), markdown)
