import pytest

from hydra_ml.offline.prompt import read_prompt, split_instruction
from hydra_ml.records import Message, Record
from hydra_ml.tasks import TASKS, get_task


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


@pytest.mark.parametrize(
    ("folder", "form", "noun"),
    [
        ("LaMP_2", "options", "description"),
        ("LaMP_2N", "options", "article"),
        ("LaMP_3", "scale", "review"),
        ("LaMP_4", "text", "article"),
        ("LaMP_5", "text", "paper"),
        ("LaMP_6", "text", "email"),
        ("LaMP_7", "rephrase", "it"),
    ],
)
def test_every_official_template_is_recognised(folder: str, form: str, noun: str) -> None:
    task = get_task(folder)
    text = "Note: five [5] things, 1 to 5."
    demo = Record("1", "u", "a: text", f"{task.instruction} a: text", "an answer")
    prompt = read_prompt(task.messages(f"{task.instruction} {text}", [demo]))
    assert (prompt.form, prompt.noun, prompt.query) == (form, noun, text)
    assert prompt.examples == (("a: text", "an answer"),)
    assert prompt.options == tuple(task.labels) or sorted(prompt.options) == sorted(task.labels)


def test_no_task_is_missing_above() -> None:
    assert len(TASKS) == 8  # the seven above, and LaMP-1 below


def test_references_and_the_authors_titles_are_told_apart() -> None:
    task = get_task("LaMP_1")
    question = (
        'For an author who has written the paper with the title "My "quoted" paper", which reference is related? '
        'Just answer with [1] or [2] without explanation. [1]: "Soil erosion" [2]: "Word vectors"'
    )
    prompt = read_prompt(
        task.messages(question, [Record("1", "u", "", "Older paper", ""), Record("2", "u", "", "Oldest", "")])
    )
    assert prompt.form == "references"
    assert prompt.options == ("[1]", "[2]")
    assert prompt.references == ("Soil erosion", "Word vectors")
    assert prompt.titles[:2] == ("Older paper", "Oldest")


def test_a_prompt_decides_the_spelling_and_order_of_options() -> None:
    prompt = read_prompt([user('Pick one. tags: ["Sad Song", happy song ] text: la la')])
    assert prompt.options == ("Sad Song", "happy song")
    assert prompt.query == "la la"


def test_turns_without_an_answer_and_empty_answers_are_no_examples() -> None:
    chat = [user("A: one"), user("A: two"), assistant("Two"), user("A: three"), assistant(" "), user("A: four")]
    prompt = read_prompt(chat)
    assert prompt.examples == (("two", "Two"),)
    assert prompt.query == "four"


def test_system_turns_are_background() -> None:
    system: Message = {"role": "system", "content": "You like sports."}
    assert read_prompt([system, user("Say: hi")]).background == "You like sports."


def test_a_chat_without_user_turns_is_read_all_the_same() -> None:
    assert read_prompt([{"role": "system", "content": "just this"}]).query == "just this"


@pytest.mark.parametrize(
    ("turn", "parts"),
    [
        ("Do this: a: b", ("Do this:", "a: b")),
        ("no colon here", ("", "no colon here")),
        ("labels: [a, b] text: c", ("labels: [a, b] text:", "c")),
        ("", ("", "")),
    ],
)
def test_split_instruction(turn: str, parts: tuple[str, str]) -> None:
    assert split_instruction(turn) == parts


@pytest.mark.parametrize("name", ["LaMP-2", "LaMP-2N", "LaMP-3", "LaMP-4", "LaMP-5", "LaMP-6", "LaMP-7"])
def test_an_instruction_said_once_is_read_as_if_said_on_every_turn(name: str) -> None:
    task = get_task(name)
    demos = [Record(str(n), "u", "", task.templated(f"film {n}: a text"), "comedy") for n in range(3)]
    for some in (demos, demos[:1], []):
        asked = task.templated("now: this, and that")
        assert read_prompt(task.messages(asked, some, "once")) == read_prompt(task.messages(asked, some, "lamp"))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", ["x", " ", "w:[a,", "w:[" + "a," * 1000, '"a', '"a [1]: ', "1 to "])
def test_a_long_text_takes_no_more_than_its_length(piece: str) -> None:
    text = (piece * 200_000)[:200_000]
    for turn in (text, f"Which one? tags: [a, b] description: {text}", f"{text} [1]: one [2]: two"):
        assert read_prompt([user(turn)]) is not None
