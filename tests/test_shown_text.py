"""Text from outside is shown letter for letter: no page, table or terminal obeys it."""

from __future__ import annotations

import html
import re

import pytest
from markdown_it import MarkdownIt

from hydra_ml.errors import DataError, exit_of
from hydra_ml.evaluation.decision import Decision, Reason
from hydra_ml.jobs.feedback_report import FeedbackReport
from hydra_ml.jobs.feedback_report import Said as FeedbackSaid
from hydra_ml.jobs.ingest_report import Counts, IngestReport
from hydra_ml.shown_text import inert, unescaped, visible, visible_lines
from hydra_ml.terminal import plain

RENDER = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table").enable("strikethrough").render
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](https://evil.example/pixel.png)",
    "<https://evil.example>",
    "a | b | c",
    "`code` **bold** *it* _it_ __b__ ~~gone~~",
    "# title",
    "1. item",
    "---",
    "&lt;b&gt; &amp;",
    "\\<b>\\",
    "[a]: https://evil.example",
    '"quoted" & <b>',
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("frame", ["{}", "# {}: taken in", "- told: {}", "| a | b |\n|---|---|\n| {} | 1 |"])
def test_markdown_shows_it_letter_for_letter(text, frame):
    page, harmless = RENDER(frame.format(inert(text))), RENDER(frame.format("harmless"))
    tags = re.compile("<[^>]*>")
    assert tags.findall(page) == tags.findall(harmless), "no element of its own"
    assert html.unescape(tags.sub("", page)) == html.unescape(tags.sub("", harmless)).replace("harmless", text)
    assert unescaped(inert(text)) == text


def test_what_cannot_be_seen_is_written_out():
    assert visible("invoice\u202egnp.exe") == "invoice\\u202egnp.exe"
    assert visible("\x1b[31mred\x00\u200b\ufeff\u2066") == "\\u001b[31mred\\u0000\\u200b\\ufeff\\u2066"
    assert visible("hid\U000e0041den") == "hid\\U000e0041den"
    assert visible("two\nlines\r") == "two\\u000alines\\u000d"
    assert visible_lines("two\nlines\r\t") == "two\nlines\\u000d\t"
    assert visible("Ünïcödé 日本 👍🏽 👩‍👧 نعم") == "Ünïcödé 日本 👍🏽 👩‍👧 نعم"
    assert visible("half \ud800") == "half \\ud800"


def test_plain_names_stay_as_they_are():
    for name in ("movies_2020-01.jsonl", "Müller (2).csv", "data/incoming/a b.parquet", "LaMP_2", "50 %", "12:30"):
        assert inert(name) == name


def test_an_error_on_a_terminal_cannot_steer_it():
    assert exit_of(DataError("drop \x1b]0;title\x07\u202e\nsecond line"))[0] == (
        "drop \\u001b]0;title\\u0007\\u202e\nsecond line"
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_reports_hold_none_of_it_as_markup(text):
    reports = [
        IngestReport(
            text,
            "d" * 16,
            "records",
            refused=text,
            left=text,
            tasks={text: Counts(1)},
            reasons={text: 1},
            history={"LaMP_2": text},
            not_published=text,
        ),
        FeedbackReport(text, "d" * 16, refused=text, tasks={text: FeedbackSaid(1)}, reasons={text: 1}),
        Decision("LaMP-2", "3", "2", (Reason("held", False, text),), None, "now", promoted_at="now", forced=text),
    ]
    for report in reports:
        page = RENDER(report.markdown())
        for element in ("<img", "<a ", "<b>", "<em>", "<code>", "<strong>bold", "<s>", "<hr"):
            assert element not in page, element
        assert text in plain(report.markdown()), "a terminal shows it as it is"
