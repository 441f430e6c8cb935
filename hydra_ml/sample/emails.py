"""E-mails and subjects for LaMP-6. A sender's subjects have one prefix, length, case and end mark.

Each mail has a topic and a request; which of the two becomes the subject is a habit of the sender's, too.
"""

# ruff: noqa: E501 (vocabulary: one entry a line, however long)

from __future__ import annotations

from random import Random

from hydra_ml.sample.headlines import in_case
from hydra_ml.sample.piece import NOISE, Piece, Taste
from hydra_ml.sample.prose import Lexicon, capitalized, fill, person, sentence

WORDS: Lexicon = {
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday"),
    "time": ("9:30", "10 o'clock", "noon", "2:15", "half past three", "4 o'clock"),
    "project": (
        "[Juniper|Atlas|Redwood|Pelican|Meridian|Halcyon|Sandpiper|Borealis|Copper|Marigold|Lighthouse|Tamarack|Osprey|Basalt|Clover|Zephyr]",
    ),
    "place": (
        "the [small|large|corner|fourth-floor] [meeting room|conference room]",
        "the [Denver|Boston|Leeds|Lyon|Osaka] office",
        "the [cafeteria|lobby|warehouse]",
    ),
    "n": ("two", "three", "four", "five", "six", "eight", "ten"),
    "sum": ("$[1,250|2,400|3,180|4,600|7,900|12,500]",),
    "team": ("finance", "legal", "design", "support", "sales", "logistics"),
    "thing": (
        "slide deck",
        "budget",
        "draft contract",
        "test report",
        "floor plan",
        "invoice",
        "travel schedule",
        "handbook",
    ),
}
# "short topic // long topic // request // what the mail says of the topic // how it asks"
MAILS = (
    "{day} meeting // {project} meeting moved to {day} // bring the {thing} // The {project} meeting has moved to {day} at {time} in {place} // Please bring the {thing}",
    "{project} launch // {project} launch delayed by {n} days // tell your customers // The {project} launch is delayed by {n} days because the {team} team found a [bug|misprint|missing signature] // Please tell your customers before {day}",
    "unpaid invoice // unpaid {project} invoice over {sum} // approve the payment // There is an unpaid invoice over {sum} for {project}, now {n} weeks late // Could you approve the payment by {day}",
    "new hire // new {team} hire starts on {day} // set up a desk // Our new {team} hire starts on {day} and will sit near {place} // Please set up a desk and a laptop",
    "travel to [c=Denver|Boston|Leeds|Lyon|Osaka] // {project} travel to {c} on {day} // send me your flight times // {n} of us travel to {c} for {project} on {day} // Send me your flight times so that I can book the hotel",
    "team lunch // {team} team lunch on {day} at {time} // vote for a restaurant // The {team} team lunch is on {day} at {time}, to celebrate {project} // Vote for a restaurant by replying to this mail",
    "[s=server|network|printer|database] outage // {s} outage in {place} since {time} // restart your machine // We have had a {s} outage in {place} since {time} and {n} people are on it // Please restart your machine and report what you see",
    "{thing} review // {project} {thing} review with {team} // send your comments // The {project} {thing} is ready for review, and {team} has already found {n} [mistakes|gaps] // Please send your comments by {day}",
    "[t=parking|badge|coffee machine|heating] changes // {t} changes in {place} from {day} // update your details // From {day} there will be {t} changes in {place} // Update your details with the {team} team",
    "customer complaint // customer complaint about {project} from {day} // call the customer back // We received a customer complaint about {project} on {day}, {n} pages long // Can you call the customer back before {time}",
    "{project} numbers // {project} numbers are up by {n} percent // check the totals // The {project} numbers are up by {n} percent, which {team} did not expect // Please check the totals in the {thing}",
    "[w=security|first aid|writing|negotiation] training // {w} training on {day} in {place} // sign up for a place // There is a {w} training on {day} at {time} in {place} with {n} places left // Sign up for a place if you have not done it yet",
    "lost [l=umbrella|badge|laptop charger|notebook] // lost {l} found in {place} // pick it up // A lost {l} with a {project} sticker was found in {place} on {day} // Pick it up from me before {time}",
    "contract with [v=Harbison|Tolliver|Winslow|Keating] // {v} contract for {project} ends on {day} // sign the extension // Our {v} contract for {project} ends on {day}, and {team} wants another {n} months // Please sign the extension",
    "holiday cover // holiday cover for {team} from {day} // take one shift // We need holiday cover for {team} from {day} because {n} people are away // Could you take one shift",
    "[o=plant|bookshelf|desk|bicycle] for sale // {o} for sale near {place} // make me an offer // I have a {o} for sale, it stands near {place} and has served me {n} years // Make me an offer by {day}",
)
GREETINGS = ("hi {name}", "dear all", "hello team", "{name}", "good morning", "hi everyone", "hello {name}")
ASIDES = (
    "I will be out of the office on {day}.",
    "Sorry for the short notice.",
    "The {thing} is attached.",
    "[Thanks to|Credit goes to] the {team} team for the [help|reminder|late nights].",
    "If {day} does not suit you, let me know.",
    "It should not take more than {n} minutes.",
    "Call me if anything is unclear.",
    "We talked about this in {place} last week.",
)
CLOSINGS = ("thanks", "best regards", "cheers", "see you soon", "many thanks", "kind regards", "talk soon")
PREFIXES = ("", "Re: ", "FW: ", "[{Team}] ", "Reminder: ", "Quick question: ", "FYI - ", "Action needed: ")
MARKS = ("", "", "", "!", "...")


def draw_taste(rng: Random) -> Taste:
    """How a sender writes subjects; `signature` closes the mail and is the same in all of them."""
    return {
        "prefix": rng.choice(PREFIXES).replace("{Team}", fill("{team}", rng, WORDS).capitalize()),
        "part": rng.choice(("topic", "topic", "request")),
        "length": rng.choice(("short", "long")),
        "case": rng.choice(("title", "sentence", "lower")),
        "mark": rng.choice(MARKS),
        "signature": f"{rng.choice(CLOSINGS)}, {person(rng)['name']}",
    }


def draw_piece(rng: Random, taste: Taste) -> Piece:
    """One mail and the subject its sender gives it; now and then without the usual prefix."""
    short, long, request, told, asked = fill(rng.choice(MAILS), rng, WORDS, person(rng)).split(" // ")
    subject = long if taste["length"] == "long" else short
    if taste["part"] == "request":
        subject = f"{request} ({subject})" if taste["length"] == "long" else request
    prefix = taste["prefix"] if rng.random() >= NOISE else ""
    title = (prefix.lower() if taste["case"] == "lower" else prefix) + in_case(subject, taste["case"]) + taste["mark"]
    question = "?" if asked.startswith(("Could", "Can")) else "."
    asides = [fill(aside, rng, WORDS) for aside in rng.sample(ASIDES, rng.choice((1, 2)))]
    greeting = fill(rng.choice(GREETINGS), rng, WORDS, person(rng))
    text = " ".join(
        [f"{capitalized(greeting)},", sentence(told), f"{asked}{question}", *asides, capitalized(taste["signature"])]
    )
    return Piece({"text": text, "title": title}, answer=title, cues={"prefix": prefix})
