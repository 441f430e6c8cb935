"""The page holds all it needs, says what the documents say, and shows a user's text as text."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from hydra_ml.evaluation.examples import Example, Examples, Shown
from hydra_ml.evaluation.methods import all_methods
from hydra_ml.io.page.charts import LABEL_GAP, THEME, cost_figure, gain_figure, history_chart, users_figure
from hydra_ml.io.page.page import draw_charts, save_page
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
    charts = draw_charts(metrics, details, [0.5, -0.25, 0.0])
    save_page(metrics, details, charts, examples, tmp_path / "report.html")
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
    addresses = [a.get(name) for _, a in Elements(text).found for name in ("src", "href", "xlink:href") if name in a]
    assert not [address for address in addresses if not (address or "").startswith("#")]  # a place in the page itself


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
def test_charts_are_whole_svg_whose_colours_are_the_pages(task: str) -> None:
    metrics, details = billed(documents(task, **ALL))
    charts = draw_charts(metrics, details, [0.1 * i for i in range(-5, 20)])
    assert len(charts) == 4
    for chart in charts:
        ElementTree.fromstring(chart.picture)
        assert chart.picture.startswith('<svg role="img" aria-label="')
        assert "var(--" in chart.picture
        assert not [colour for colour in THEME if colour in chart.picture], "dark pages would show it as it is"


def test_a_smaller_error_is_drawn_to_the_right_and_higher() -> None:
    metrics, details = billed(documents("LaMP_3", rag_k4=0.5, hydra=0.9))
    gain = gain_figure(details)
    assert gain is not None
    (point,) = [line for line in gain.axes[0].lines if line.get_marker() == "D"]
    assert point.get_xdata()[0] > 0
    cost = cost_figure(metrics, details)
    assert cost is not None
    places = [
        cost.axes[0].transData.transform((line.get_xdata()[0], line.get_ydata()[0])) for line in cost.axes[0].lines
    ]
    (plain_x, plain_y), (ours_x, ours_y) = places
    assert (ours_x > plain_x, ours_y > plain_y) == (True, True)


def test_names_beside_equal_points_do_not_lie_over_each_other() -> None:
    metrics, details = billed(documents(rag_k4=0.5, hydra=0.5, zero_shot=0.5))
    figure = cost_figure(metrics, details)
    assert figure is not None
    height = figure.axes[0].get_window_extent().height * 72 / figure.dpi
    heights = sorted(text.xyann[1] * height for text in figure.axes[0].texts)
    assert [high - low >= LABEL_GAP - 1e-6 for low, high in pairwise(heights)] == [True, True]


def test_a_chart_with_nothing_to_show_is_none() -> None:
    _, details = documents(zero_shot=0.5)
    assert (gain_figure(details), users_figure([]), history_chart(details | {"bands": {}})) == (None, None, None)


def test_bars_of_users_stand_the_most_helped_first() -> None:
    figure = users_figure([-0.5, 0.25, 0.75])
    assert figure is not None
    assert [bar.get_height() for bar in figure.axes[0].patches] == [0.75, 0.25, -0.5]


def test_long_texts_are_cut(tmp_path: Path) -> None:
    long = replace(EXAMPLE, question="word " * 5000)
    more = len(page(tmp_path, examples=Examples([long], EXAMPLES.counts))) - len(page(tmp_path))
    assert 500 < more < 5_000  # of 25,000


def test_what_is_not_seen_is_written_out(tmp_path: Path) -> None:
    """A mark that turns the direction of writing would turn the date and the answer beside it too."""
    hidden = "a\u202eb\x00c\x1bd\u2066e"
    record = replace(EXAMPLE.records[0], asked=hidden, answer=hidden)
    example = replace(EXAMPLE, question=hidden, gold=hidden, answers={"hydra": hidden}, records=[record])
    example = replace(example, query_id="q\u202e1", scores={"hydra": 1.0})
    text = page(tmp_path, examples=Examples([example], EXAMPLES.counts))
    assert not set(text) & set("\u202e\x00\x1b\u2066")
    assert text.count(r"a\u202eb\u0000c\u001bd\u2066e") == 5
    assert r"question q\u202e1" in text
