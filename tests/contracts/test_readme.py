"""What the README tells a newcomer to type exists, and what it points at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from flows.stack import PORTS
from hydra_ml.cli.main import app
from hydra_ml.evaluation.methods import all_methods, is_control, is_rival

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
SHELL = "\n".join(re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL))


def test_it_is_short_enough_to_be_read():
    assert README.count("\n") < 200


@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"^hydra-ml ([a-z]+(?: [a-z]+)?)", SHELL, flags=re.MULTILINE)))
)
def test_every_hydra_ml_command_shown_exists(command):
    found = get_command(app)
    for word in command.split():
        assert word in found.commands, f"hydra-ml {command} is shown but does not exist"
        found = found.commands[word]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^make ([a-z-]+)", SHELL, flags=re.MULTILINE))))
def test_every_make_target_shown_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize(
    "place", sorted(set(re.findall(r"`((?:hydra_ml|tests)/[\w/.]+|dvc\.yaml|params\.yaml)`", README)))
)
def test_every_place_named_is_there(place):
    assert (ROOT / place).exists()


def test_the_port_shown_for_a_served_release_is_free_beside_the_stack():
    shown = {int(port) for port in re.findall(r"models serve .* -p (\d+)", README)}
    assert shown
    assert not shown & set(PORTS.values())


def test_what_is_fetched_is_run_from_where_it_was_put_and_not_taken_for_a_drop():
    (to,) = [
        option.default for option in get_command(app).commands["data"].commands["fetch"].params if option.name == "to"
    ]
    assert f"make run DATA={to}\n" in SHELL
    assert Path(to) != Path("data/incoming")  # which ingest empties


def test_every_method_of_the_arena_is_explained():
    rivals = (ROOT / "docs/rivals.md").read_text("utf-8")
    own = [method for method in all_methods() if not is_rival(method)]
    others = [method for method in all_methods() if is_rival(method) and not is_control(method)]
    assert not [method for method in own if f"`{method}`" not in README]
    assert not [method for method in others if f"`{method}`" not in rivals]
