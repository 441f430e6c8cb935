"""The page holds all it needs, says what the documents say, and shows a user's text as text."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from hydra_ml.evaluation.examples import Example, Examples, Shown
from hydra_ml.evaluation.methods import all_methods
from hydra_ml.io.page.charts import cost_chart, gain_chart, history_chart, users_chart
from hydra_ml.io.page.page import save_page
from tests.evaluation.test_report import ALL, Documents, documents

SCRIPT = "<script>alert('x')</script> & <img src=x onerror=alert(1)>"
EXAMPLE = Example(
    query_id="q1",
    cohort="new",
    n_history=3,
    verdict="worse",
    against="rag_k4",
    question=f"a film about {SCRIPT}",
    gold=f"gold {SCRIPT}",
    answers={"rag_k4": f"plain {SCRIPT}", "hydra": None},
    scores={"rag_k4": 1.0, "hydra": 0.0},
    records=[Shown(f"asked {SCRIPT}", f"said {SCRIPT}", "2020-01-02", ("hydra 1", "rag_k4 2"))],
)
EXAMPLES = Examples([EXAMPLE], {"better": 5, "worse": 4, "equal": 3})


def billed(found: Documents) -> Documents:
    """The documents with a bill: every LLM method costs 100 tokens a question, hydra 300."""
    metrics, details = found
    rows = [
        {"stage": "generate", "method": m, "group": "all", "questions": 60, "tokens_in": 60 * n, "tokens_out": 0}
        for m, n in {"zero_shot": 100, "rag_k4": 200, "hydra": 300}.items()
        if m in metrics
    ]
    return metrics | {"bill": [row | {"cost": None} for row in rows]}, details


def page(tmp_path: Path, found: Documents | None = None, examples: Examples | None = EXAMPLES) -> str:
    metrics, details = billed(found or documents(**ALL))
    save_page(metrics, details, [0.5, -0.25, 0.0], examples, tmp_path / "report.html")
    return (tmp_path / "report.html").read_text("utf-8")


class Elements(HTMLParser):
    """Every element with its attributes, and whether all are closed."""

    VOID = frozenset({"meta", "br", "img", "link", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_users_markup_is_shown_and_never_obeyed(tmp_path: Path) -> None:
    text = page(tmp_path)
    elements = Elements(text)
    assert elements.open == []
    assert not {tag for tag, _ in elements.found} & {"script", "img", "iframe", "object", "form"}
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
    assert text.count("&lt;script&gt;") == 5  # question, gold, answer, and a record's two parts


def test_it_opens_without_a_network(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert not re.findall(r"https?:|url\(|@import|//[a-z]", text)
    assert not [a for _, a in Elements(text).found if {"src", "href"} & a.keys()]


def test_it_says_what_the_documents_say(tmp_path: Path) -> None:
    metrics, details = documents(**ALL)
    text = page(tmp_path, (metrics, details))
    for method in set(all_methods()) & ALL.keys():
        estimate = metrics[method]["accuracy"]
        assert f"{estimate['value']:.3f} [{estimate['ci_low']:.3f}, {estimate['ci_high']:.3f}]" in text
    pair = details["paired"]["hydra"]["rag_k4"]["accuracy"]
    row = next(line for line in text.splitlines() if "hydra less rag_k4" in line and "<tr>" in line)
    assert f"<td>{pair['detectable']:.3f}</td>" in row
    headline = next(line for line in text.splitlines() if 'class="headline"' in line)
    assert "hydra is better than rag_k4 in accuracy" in headline
    assert text.count("<svg ") == 4
    assert "did better on 5" in text
    assert "no answer that can be read" in text


def test_without_examples_no_word_of_a_user_is_in_it(tmp_path: Path) -> None:
    text = page(tmp_path, examples=None)
    assert "Questions</h2>" not in text
    assert "film" not in text


def test_equal_documents_give_equal_bytes(tmp_path: Path) -> None:
    assert page(tmp_path / "a") == page(tmp_path / "b")


@pytest.mark.parametrize("rates", [{"zero_shot": 0.5}, {"hydra": 0.5}, {"rag_k4": 0.5, "hydra": 0.5}])
def test_few_methods_make_a_page_too(tmp_path: Path, rates: dict[str, float]) -> None:
    text = page(tmp_path, documents(**rates), Examples([], {}))
    assert Elements(text).open == []
    assert "nan" not in text.lower()


@pytest.mark.parametrize("task", ["LaMP_2", "LaMP_3", "LaMP_4"])
def test_charts_are_drawn_inside_their_frames(task: str) -> None:
    metrics, details = billed(documents(task, **ALL))
    gains = [0.1 * i for i in range(-5, 20)]
    for chart in (gain_chart(details), cost_chart(metrics, details), history_chart(details), users_chart(gains)):
        svg = ElementTree.fromstring(chart)
        _, _, width, height = map(float, svg.attrib["viewBox"].split())
        assert len(svg) > 5
        for element in svg:
            places = {key: float(value) for key, value in element.attrib.items() if key in _PLACES}
            assert all(
                0 <= value <= (width if key in {"x", "x1", "x2", "cx"} else height) for key, value in places.items()
            )
            assert all(
                value >= 0 for key, value in element.attrib.items() if key == "width" for value in [float(value)]
            )


_PLACES = {"x", "y", "x1", "x2", "y1", "y2", "cx", "cy"}


def test_a_smaller_error_is_drawn_to_the_right_and_higher() -> None:
    metrics, details = billed(documents("LaMP_3", rag_k4=0.5, hydra=0.9))
    (gain,) = [e for e in ElementTree.fromstring(gain_chart(details)) if e.tag == "circle"]
    zero = next(e for e in ElementTree.fromstring(gain_chart(details)) if e.attrib.get("class") == "axis")
    assert float(gain.attrib["cx"]) > float(zero.attrib["x1"])
    plain, ours = (e for e in ElementTree.fromstring(cost_chart(metrics, details)) if e.tag == "circle")
    assert float(ours.attrib["cy"]) < float(plain.attrib["cy"])
    assert float(ours.attrib["cx"]) > float(plain.attrib["cx"])


def test_a_chart_with_nothing_to_show_is_empty() -> None:
    _, details = documents(zero_shot=0.5)
    assert gain_chart(details) == users_chart([]) == history_chart(details | {"bands": {}}) == ""


def test_bars_of_users_stand_the_most_helped_first() -> None:
    bars = [e.attrib["class"] for e in ElementTree.fromstring(users_chart([-0.5, 0.25, 0.75])) if e.tag == "rect"]
    assert bars == ["gain", "gain", "loss"]


def test_long_texts_are_cut(tmp_path: Path) -> None:
    long = replace(EXAMPLE, question="word " * 5000)
    assert len(page(tmp_path, examples=Examples([long], EXAMPLES.counts))) < 60_000
