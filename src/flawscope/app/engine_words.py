"""What the engine says in English, in the panel's language: the stages of a job, and errors by their code.

An error keeps its own sentence, which names the input; a panel in another language shows above it what kind
of error it is. Whoever adds a stage or a code adds its words here; tests say which are missing.
"""

from __future__ import annotations

import re

from flawscope.app.wording import Words

_NUMBER = re.compile(r" by \d+ folds$")


def stage(words: Words, name: str) -> str:
    """Return the name of a stage of a job; one that is not known stays English."""
    return stages(words).get(_NUMBER.sub(" by folds", name), name)


def problem(words: Words, code: str) -> str:
    """Return what kind of error a code is; empty in English, whose errors say so themselves, and for a code
    that has no words."""
    return "" if words.language == "en" else problems(words).get(code, "")


def stages(words: Words) -> dict[str, str]:
    """Return the stages of jobs by their English names."""
    return {
        "Teaching": words.say("Teaching"),
        "Judging": words.say("Judging"),
        "Judging twice": words.say("Judging twice"),
        "Calibrating": words.say("Calibrating"),
        "Calibrating by folds": words.say("Calibrating by folds"),
        "Choosing patches": words.say("Choosing patches"),
        "Measuring places": words.say("Measuring places"),
        "Measuring positions": words.say("Measuring positions"),
        "Measuring maps": words.say("Measuring maps"),
        "Measuring explanations": words.say("Measuring explanations"),
        "Measuring the scene": words.say("Measuring the scene"),
        "Weighing both": words.say("Weighing both"),
        "Weighing both by folds": words.say("Weighing both by folds"),
        "Remembering": words.say("Remembering"),
        "Reading": words.say("Reading"),
        "Writing": words.say("Writing"),
        "Looking": words.say("Looking"),
        "Looking at views": words.say("Looking at views"),
        "Looking for copies": words.say("Looking for copies"),
        "Comparing": words.say("Comparing"),
        "Comparing copies": words.say("Comparing copies"),
        "Comparing framing": words.say("Comparing framing"),
        "Checking labels": words.say("Checking labels"),
        "Rating": words.say("Rating"),
        "Rating defects": words.say("Rating defects"),
        "Picking references": words.say("Picking references"),
        "Hashing": words.say("Hashing"),
        "Finding products": words.say("Finding products"),
        "Explaining": words.say("Explaining"),
        "Drawing the page": words.say("Drawing the page"),
        "Watching": words.say("Watching"),
        "Weighing costs": words.say("Weighing costs"),
        "Looking at textures": words.say("Looking at textures"),
        "Distilling": words.say("Distilling"),
        "Trying": words.say("Trying"),
        "Drawing chips": words.say("Drawing chips"),
        "Annotating": words.say("Annotating"),
    }


def problems(words: Words) -> dict[str, str]:
    """Return what kinds of errors there are, by code."""
    return {
        "missing": words.say("The picture is not there"),
        "empty": words.say("Nothing was sent"),
        "not_an_image": words.say("This is no picture that can be read"),
        "truncated": words.say("The picture ends too early"),
        "corrupt": words.say("The picture is damaged"),
        "too_large": words.say("The picture is too large"),
        "unsupported": words.say("Pictures of this kind are not read"),
        "too_dark": words.say("The picture is too dark"),
        "too_bright": words.say("The picture is too bright"),
        "featureless": words.say("The picture shows too little"),
        "usage": words.say("That cannot be done as asked"),
        "config": words.say("A setting does not fit"),
        "data": words.say("These photographs cannot serve"),
        "leak": words.say("A photograph would both teach and test"),
        "unexplained": words.say("The new parts look like another product"),
        "calibration_missing": words.say("Photographs that calibrated are missing"),
        "bundle": words.say("The model cannot be used"),
        "no_teaching_state": words.say("This model cannot learn on"),
        "old_teaching_state": words.say("This model cannot learn on"),
        "missing_extra": words.say("An optional part is not installed"),
        "promise": words.say("That cannot be promised with so few parts"),
        "store": words.say("The station cannot read or write its store"),
        "bad_request": words.say("The request does not fit"),
        "does_not_fit": words.say("The request does not fit"),
        "login": words.say("Sign in first"),
        "forbidden": words.say("That is not allowed"),
        "role": words.say("Your role does not allow that"),
        "csrf": words.say("The page is out of date: load it again"),
        "not_found": words.say("That is not there"),
        "no_bundle": words.say("No model serves this product"),
        "conflict": words.say("Something else came first"),
        "claimed": words.say("Somebody else has this part"),
        "looked_at": words.say("This test set stays as it is"),
        "too_much": words.say("That is too much at once"),
        "busy": words.say("The station is full"),
        "late": words.say("The verdict takes longer"),
        "closing": words.say("The station is being stopped"),
        "too_often": words.say("Too many tries: wait a little"),
        "system": words.say("The system refused"),
        "internal": words.say("Something is wrong inside the station"),
    }
