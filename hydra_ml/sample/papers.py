"""Paper abstracts and titles for LaMP-1 and LaMP-5.

LaMP-5: an author's titles have one form, length and case. LaMP-1: an author works with a few families of methods and
cites papers that use them; both references offered are on the paper's own topic.
"""

# ruff: noqa: E501 (vocabulary: one entry a line, however long)

from __future__ import annotations

from random import Random
from typing import cast

from hydra_ml.sample.piece import NOISE, Piece, Taste
from hydra_ml.sample.prose import Lexicon, capitalized, fill, sentence, title_case
from hydra_ml.tasks import TASKS
from hydra_ml.tasks.citation import CitationTask

CITATION = cast(CitationTask, TASKS["LaMP_1"])

# Method families: how each is named in titles and abstracts.
FAMILIES: dict[str, tuple[str, ...]] = {
    "graphs": ("graph neural networks", "message passing on graphs", "graph attention", "random walks on graphs"),
    "contrast": ("contrastive learning", "contrastive pretraining", "self-supervised contrast", "hard negative mining"),
    "bayes": ("Bayesian inference", "Gaussian processes", "hierarchical Bayesian models", "variational Bayes"),
    "reinforcement": ("reinforcement learning", "policy gradients", "off-policy Q-learning", "actor-critic learning"),
    "distillation": ("knowledge distillation", "teacher-student training", "model compression", "distilled ensembles"),
    "evolution": ("genetic algorithms", "evolutionary search", "genetic programming", "evolution strategies"),
    "logic": ("formal verification", "model checking", "temporal logic", "constraint solving"),
    "crowds": ("crowdsourcing", "crowd annotation", "human computation", "crowd worker feedback"),
    "causality": ("causal inference", "counterfactual estimation", "instrumental variables", "causal discovery"),
    "spectral": ("compressed sensing", "sparse recovery", "wavelet analysis", "spectral decomposition"),
    "fuzzy": ("fuzzy logic", "fuzzy rule systems", "rough sets", "fuzzy clustering"),
    "trees": ("random forests", "gradient boosted trees", "decision tree ensembles", "regression trees"),
}
TOPICS: dict[str, tuple[str, ...]] = {
    "traffic": ("traffic forecasting", "urban travel time prediction", "road congestion estimation"),
    "translation": ("machine translation", "translation of rare words", "document translation"),
    "wireless": ("wireless scheduling", "spectrum allocation", "base station handover"),
    "retrieval": ("image retrieval", "sketch-based image search", "visual place recognition"),
    "crops": ("crop disease detection", "yield prediction", "weed mapping"),
    "repair": ("program repair", "bug localization", "automatic patch generation"),
    "power": ("power grid control", "load forecasting", "fault detection in substations"),
    "speech": ("speech recognition", "speaker identification", "keyword spotting"),
    "fraud": ("fraud detection", "credit scoring", "money laundering detection"),
    "recommending": ("music recommendation", "news recommendation", "next-item recommendation"),
    "robots": ("robot grasping", "bimanual manipulation", "warehouse navigation"),
    "medicine": ("tumor segmentation", "sepsis prediction", "drug interaction discovery"),
}
WORDS: Lexicon = {
    "setting": (
        "with few labels",
        "under heavy noise",
        "on low-cost hardware",
        "under distribution shift",
        "with missing data",
        "in real time",
        "across many sites",
        "with limited memory",
        "at national scale",
        "without supervision",
    ),
    "virtue": ("robust", "scalable", "interpretable", "fast", "reliable", "adaptive", "private", "efficient"),
    "limit": ("limits", "cost", "stability", "fairness", "sample complexity", "convergence", "robustness"),
    "n": ("two", "three", "four", "five", "six", "seven", "nine"),
    "percent": ("4", "7", "9", "12", "15", "18", "21", "24", "31", "37"),
    "acronym": (
        "[SPARROW|LANTERN|COBALT|MAGPIE|HARBOR|TUNDRA|FALCON|QUARTZ|WILLOW|ORCHID|BEACON|SEXTANT|RIVET|LOTUS|PRISM|EMBER|MOSAIC|KESTREL|NIMBUS|ANCHOR|SAFFRON|TRELLIS|OTTER|CINDER]",
    ),
}
ABSTRACT = (
    (
        "[{problem} remains difficult {setting}|Progress in {problem} has been slow {setting}|Practical systems for {problem} still fail {setting}].",
        "[Existing methods for {problem} break down {setting}|Much of the work on {problem} ignores what happens {setting}].",
        "[We study {problem} {setting}|This paper considers {problem} {setting}|We revisit {problem} {setting}].",
    ),
    (
        "[We present|We introduce|We propose] {acronym}, a {virtue} [approach|framework|method] based on {method}.",
        "Our {virtue} [system|method], {acronym}, [builds on|rests on|makes use of] {method}.",
        "The key idea of {acronym} is a {virtue} [use|variant|form] of {method}.",
    ),
    (
        "[Experiments on|Tests with] {n} [data sets|benchmarks|field studies] show an error [reduction|decrease] of {percent} percent.",
        "We [prove|derive] bounds on its {limit} and [confirm|illustrate] them on {n} [data sets|case studies].",
        "It [improves on|outperforms] {n} [strong baselines|earlier systems] by {percent} percent and we discuss its {limit}.",
        "An analysis of its {limit} [explains|clarifies] when it works, and a study with {n} partners supports the findings.",
    ),
)
# Title forms: (short, long).
FORMS: dict[str, tuple[str, str]] = {
    "named": ("{acronym}: {method} for {problem}", "{acronym}: {virtue} {method} for {problem} {setting}"),
    "towards": ("towards {virtue} {problem}", "towards {virtue} {problem} {setting}: the role of {method}"),
    "on the": ("on the {limit} of {method}", "on the {limit} of {method} for {problem} {setting}"),
    "plain": ("{virtue} {problem} {setting}", "a {virtue} approach to {problem} {setting} based on {method}"),
    "question": ("can {method} help {problem}?", "can {method} make {problem} {virtue} {setting}?"),
    "method first": ("{method} for {problem}", "{method} for {virtue} {problem} {setting}"),
}
SHOWING_METHOD = ("named", "method first")  # forms in which both the method and the problem can be read
N_FAVOURITE_FAMILIES = 3
N_FAVOURITE_TOPICS = 5


def draw_title_taste(rng: Random) -> Taste:
    """How an author titles papers."""
    return {
        "form": rng.choice(list(FORMS)),
        "length": rng.choice(("short", "long")),
        "case": rng.choice(("title", "sentence")),
        "topics": rng.sample(list(TOPICS), N_FAVOURITE_TOPICS),
        "families": rng.sample(list(FAMILIES), N_FAVOURITE_FAMILIES),
    }


def draw_citation_taste(rng: Random) -> Taste:
    """Which method families and topics an author works on."""
    return {
        "families": rng.sample(list(FAMILIES), N_FAVOURITE_FAMILIES),
        "topics": rng.sample(list(TOPICS), N_FAVOURITE_TOPICS),
    }


def draw_titled_paper(rng: Random, taste: Taste) -> Piece:
    """LaMP-5: an abstract, and the title its author gives it; now and then in a form that is not the author's."""
    slots = _paper(rng, rng.choice(taste["families"]), rng.choice(taste["topics"]))
    form = taste["form"] if rng.random() >= NOISE else rng.choice(list(FORMS))
    title = _title(rng, slots, form=form, length=taste["length"], case=taste["case"])
    return Piece({"title": title, "abstract": _abstract(rng, slots)}, answer=title, cues={"form": form})


def draw_citing_paper(rng: Random, taste: Taste) -> Piece:
    """LaMP-1: one of the author's papers, and two references on its topic, one from a family the author works with."""
    own, right = rng.choice(taste["families"]), rng.choice(taste["families"])
    wrong = rng.choice([family for family in FAMILIES if family not in taste["families"]])
    topic = rng.choice(taste["topics"])
    slots = _paper(rng, own, topic)
    title = _title(rng, slots, form=rng.choice(SHOWING_METHOD), length=rng.choice(("short", "long")), case="title")
    families = [right, wrong] if rng.random() < 0.5 else [wrong, right]
    references = [_reference(rng, family, topic) for family in families]
    cited = families.index(right) if rng.random() >= NOISE else families.index(wrong)
    return Piece(
        {"title": title, "abstract": _abstract(rng, slots)},
        answer=CITATION.labels[cited],
        cues={"own": own, "references": families},
        input=CITATION.pair_input(title, *references),
    )


def _paper(rng: Random, family: str, topic: str) -> dict[str, str]:
    """Everything that title and abstract of one paper share."""
    slots = {"method": rng.choice(FAMILIES[family]), "problem": rng.choice(TOPICS[topic])}
    return slots | {name: fill(f"{{{name}}}", rng, WORDS) for name in ("setting", "virtue", "limit", "acronym")}


def _abstract(rng: Random, slots: dict[str, str]) -> str:
    return " ".join(sentence(fill(rng.choice(part), rng, WORDS, slots)) for part in ABSTRACT)


def _title(rng: Random, slots: dict[str, str], *, form: str, length: str, case: str) -> str:
    text = fill(FORMS[form][("short", "long").index(length)], rng, WORDS, slots)
    return title_case(text) if case == "title" else capitalized(text)


def _reference(rng: Random, family: str, topic: str) -> str:
    """The title of somebody's paper: method and problem both show, so that neither reference is closer in form."""
    slots = _paper(rng, family, topic)
    return _title(rng, slots, form=rng.choice(SHOWING_METHOD), length=rng.choice(("short", "long")), case="title")
