"""arena: a page of the chain's results that opens anywhere, and one without a word of any user."""

import json

import pandas as pd


def test_the_page_holds_the_results_and_as_many_questions_as_asked_for(chain):
    text = chain.path("arena", "report.html").read_text("utf-8")
    metrics = json.loads(chain.path("evaluate", "metrics.json").read_text())
    for method in ("rag_k4", "hydra", "best_candidate"):
        assert f"{metrics[method]['accuracy']['value']:.3f} [" in text
    assert text.count("<article") == chain.summaries["arena"]["examples"] == 10
    assert "<script" not in text


def test_what_goes_elsewhere_holds_no_text_of_a_user(chain):
    records = pd.read_parquet(chain.path("prepare", "records.parquet"))
    text = chain.path("arena", "figures.html").read_text("utf-8")
    assert "<svg " in text
    assert not [record for record in records["text"] if record in text]


def test_running_again_gives_the_same_bytes(chain):
    before = chain.path("arena", "report.html").read_bytes()
    assert chain.run("arena") == 0
    assert chain.path("arena", "report.html").read_bytes() == before
