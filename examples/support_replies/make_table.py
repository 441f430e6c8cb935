"""Writes tickets.csv: what 48 support agents of an invented shop chose and wrote, each in a way of their own.

    python examples/support_replies/make_table.py

An agent has a habit for each topic (which macro) and a manner (greeting, tone, sign-off); one ticket in ten is answered
against the habit. So a head can learn who does what, and a test can ask whether it did.
"""

from __future__ import annotations

import csv
from datetime import date, timedelta
from pathlib import Path
from random import Random

TOPICS = {  # topic -> what customers write, and the macros that agents choose from, by habit
    "broken": (
        [
            "The {thing} arrived with a crack across the side.",
            "My {thing} stopped working after {days} days.",
            "One part of the {thing} was missing from the box.",
            "The {thing} smells burnt whenever it is switched on.",
        ],
        ["replacement", "refund", "ask for a photo"],
    ),
    "late": (
        [
            "My {thing} should have been here {days} days ago.",
            "Tracking for the {thing} has not moved since last week.",
            "Where is my {thing}? I ordered it {days} days ago.",
            "The courier says the {thing} was handed over, it was not.",
        ],
        ["apologise and wait", "refund", "escalate"],
    ),
    "invoice": (
        [
            "I was charged twice for the {thing}.",
            "The invoice for my {thing} shows the wrong address.",
            "There is a fee of {days} euros on the {thing} that nobody told me about.",
            "I need a receipt for the {thing}.",
        ],
        ["send a link", "escalate", "refund"],
    ),
    "account": (
        [
            "I cannot log in to see the order of my {thing}.",
            "Your site says my account is locked, I only ordered a {thing}.",
            "The password mail never comes, and I want to return the {thing}.",
            "Please change the mail address of my account.",
        ],
        ["send a link", "escalate", "apologise and wait"],
    ),
    "regret": (
        [
            "I do not like the colour of the {thing} after all.",
            "The {thing} is smaller than I thought, can I send it back?",
            "I found the {thing} cheaper elsewhere, I want to return it.",
            "My partner bought the same {thing}, I need just one.",
        ],
        ["voucher", "refund", "send a link"],
    ),
}
THINGS = [
    "kettle",
    "desk lamp",
    "rain jacket",
    "backpack",
    "toaster",
    "office chair",
    "headset",
    "bike light",
    "blender",
]
EXTRA = [
    "",
    "",
    " Please answer soon.",
    " This is the second time.",
    " I have been a customer for years.",
    " Thank you.",
]
SAID = {
    "replacement": ["a new {thing} is on its way", "we send you another {thing} today"],
    "refund": ["you get your money for the {thing} back", "the {thing} is refunded in full"],
    "ask for a photo": ["could you send a photo of the {thing}", "please show us the {thing} in a picture"],
    "apologise and wait": [
        "we are sorry and ask for a few more days",
        "please give us until Friday, sorry for the wait",
    ],
    "escalate": ["a colleague of the back office takes over", "this goes to our specialists now"],
    "send a link": ["the page at help.example shows how", "you can do this yourself at help.example"],
    "voucher": ["here is a voucher instead of the {thing}", "we offer a voucher worth the {thing}"],
}
GREETINGS = ["Hello,", "Hi there!", "Dear customer,", "Hey,", "Good day,"]
SIGN_OFFS = ["Kind regards", "Cheers!", "All the best,", "Your service team", "Have a lovely day :)"]


def rows(seed: int = 7, agents: int = 48, tickets: int = 26) -> list[dict[str, str]]:
    """A row per ticket: agent, closed_at, ticket, macro, reply; by date."""
    rng = Random(seed)
    found = []
    for number in range(agents):
        habit = {topic: rng.choice(macros) for topic, (_, macros) in TOPICS.items()}
        greeting, sign_off, loud = rng.choice(GREETINGS), rng.choice(SIGN_OFFS), rng.random() < 0.3
        day = date(2026, 1, 5) + timedelta(days=rng.randrange(20))
        for _ in range(tickets):
            topic = rng.choice(list(TOPICS))
            written, macros = TOPICS[topic]
            thing = rng.choice(THINGS)
            ticket = rng.choice(written).format(thing=thing, days=rng.randrange(3, 15)) + rng.choice(EXTRA)
            macro = rng.choice(macros) if rng.random() < 0.1 else habit[topic]
            said = rng.choice(SAID[macro]).format(thing=thing)
            said = said.upper() if loud else said[0].upper() + said[1:]
            reply = f"{greeting} {said}. {sign_off}"
            found.append(
                {
                    "agent": f"a{number:02}",
                    "closed_at": day.isoformat(),
                    "ticket": ticket,
                    "macro": macro,
                    "reply": reply,
                }
            )
            day += timedelta(days=rng.randrange(1, 4))
    return sorted(found, key=lambda row: row["closed_at"])


def main() -> None:
    """Write the table beside this file."""
    with Path(__file__).with_name("tickets.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["agent", "closed_at", "ticket", "macro", "reply"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows())


if __name__ == "__main__":
    main()
