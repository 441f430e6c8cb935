"""The page of an explanation: whole in itself, and nothing that a user wrote can become more than text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from hydra_ml.evaluation.explanation import Breakdown, Candidate, Explanation, Term, UsedRecord
from hydra_ml.io.page.why_page import save_why_page, why_path, widths

HOSTILE = "</style></title><script>alert(1)</script><img src=//x.test/y onerror=alert(2)>\u202e{{ 7*7 }}"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def explanation(**changes) -> Explanation:
    record = UsedRecord(HOSTILE, HOSTILE, HOSTILE, HOSTILE, ("hydra",), 0.5, HOSTILE, None, 2)
    facts = dict.fromkeys(("release", "data"), HOSTILE)
    terms = (Term("texts", 0.5, 0.25), Term("cosine", -0.25, 0.0))
    found = Explanation(
        HOSTILE, HOSTILE, "LaMP-2", HOSTILE, HOSTILE, 0.5, HOSTILE, 3, HOSTILE, HOSTILE, facts,
        (Candidate(HOSTILE, 1, 0.5, 0.25, True),), HOSTILE, (record, UsedRecord("r", "", "", "", (), None)),
        (Breakdown(HOSTILE, "the runner-up", 0.5, terms, {}, 0.0),), (HOSTILE,), HOSTILE,
        (HOSTILE,), (HOSTILE,), (HOSTILE,),
    )  # fmt: skip
    return Explanation(**{**found.__dict__, **changes})


def page_of(told: Explanation, tmp_path: Path) -> str:
    save_why_page(told, tmp_path / "why.html")
    return (tmp_path / "why.html").read_text("utf-8")


def test_what_a_user_wrote_stays_text(tmp_path):
    page = page_of(explanation(), tmp_path)
    tags = Tags()
    tags.feed(page)
    names = {tag for tag, _ in tags.found}
    assert not names & {"script", "img", "link", "iframe", "object", "form", "a"}
    assert not any(name.startswith("on") or name in ("src", "href") for _, given in tags.found for name in given)
    assert "\u202e" not in page
    assert "{{ 7*7 }}" in page  # nothing in a text is worked out
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 10  # told all the same


def test_it_needs_nothing_from_elsewhere_and_turns_with_the_reader(tmp_path):
    page = page_of(explanation(), tmp_path)
    style = page[page.index("<style>") : page.index("</style>")]
    assert not re.search(r"url\(|@import|https?:", style)
    assert "prefers-color-scheme: dark" in style
    assert 'name="viewport"' in page


def test_what_is_not_known_is_left_out_or_told(tmp_path):
    bare = explanation(
        generic=None, stranger=None, question="", breakdowns=(), decision=(), others=(), feedback=(), records=()
    )
    page = page_of(bare, tmp_path)
    assert "nothing the task can read" in page
    assert "a stranger" not in page
    assert "Its lead over" not in page
    assert "not asked: 2 calls" in page_of(explanation(), tmp_path)
    assert "came with the request" in page_of(
        explanation(records=(UsedRecord("r", "", "", "", ("hydra",), None),)), tmp_path
    )


def test_its_place_is_named_by_a_digest_and_its_bars_by_the_longest_term(tmp_path):
    path = why_path(tmp_path, explanation(request_id="../../../etc/passwd"))
    assert path.parent == tmp_path / "reports" / "why"
    assert re.fullmatch(r"lamp_2-[0-9a-f]{12}\.html", path.name)
    assert path != why_path(tmp_path, explanation(request_id="another"))
    assert widths(explanation().breakdowns[0]) == [100.0, 33.3]
    assert widths(Breakdown(None, "", 0.0, (Term("texts", 0.0, 0.0),), {}, 0.0)) == [0.0]
