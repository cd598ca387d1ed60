"""Held-out answers of the initial model and of the policy side by side: prompts won, prompts lost, some that tie."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from selfboost.measures import Measure
from selfboost.report.markup import Html, folded, join, said, tag
from selfboost.report.material import Answered, Round, Story
from selfboost.views.sentences import mark, number, value_of

SHOWN = 4
MARKS = {"right": "✓", "partly": "~", "wrong": "✗"}
COLOURS = {"better than before": "after gained", "worse than before": "after lost"}


def side_by_side(story: Story) -> Html:
    """A few prompts of each outcome, drawn at random."""
    last, gate = story.summary.policy, story.summary.gate
    if last is None or last.iteration == 0:
        return Html("")
    before, after = story.rounds[0], next(r for r in story.rounds if r.number == last.iteration)
    groups = _outcomes(before, after, gate.sign)
    if not any(groups.values()):
        return Html("")
    total = sum(len(prompts) for prompts in groups.values())
    parts: list[Html] = []
    for title, prompts in groups.items():
        if prompts:
            side = COLOURS.get(title, "after")
            shown = [_compared(prompt, (before, after), side, story) for prompt in _draw(prompts)]
            parts.append(folded(f"{title}: {len(prompts):,} of {total:,} prompts", *shown, open_="ties" not in title))
    words = f"The initial model against iteration {last.iteration}, drawn at random from each group."
    return tag("section", tag("h2", "Answers before and after"), tag("p", words, class_="muted"), *parts, id="answers")


def _outcomes(before: Round, after: Round, sign: int) -> dict[str, list[str]]:
    """Prompts by outcome; `sign` turns a change of the gate's measure into an improvement."""
    groups: dict[str, list[str]] = {"better than before": [], "worse than before": [], "ties or unrated": []}
    answered = {a.prompt for a in before.answers} & {a.prompt for a in after.answers}
    for prompt in sorted(answered):
        change = sign * (after.ratings.get(prompt, 0.0) - before.ratings.get(prompt, 0.0))
        rated = prompt in after.ratings and prompt in before.ratings
        name = "ties or unrated" if not rated or change == 0 else "better" if change > 0 else "worse"
        groups[name if name in groups else f"{name} than before"].append(prompt)
    return groups


def _draw(prompts: Sequence[str]) -> list[str]:
    """A random draw, the same in every report."""
    return sorted(prompts, key=lambda prompt: hashlib.sha256(prompt.encode()).digest())[:SHOWN]


def _compared(prompt: str, models: tuple[Round, Round], side: str, story: Story) -> Html:
    """`side` colours the later answer by how it came out."""
    before, after = models
    gate, gold = story.summary.gate, story.gold.get(prompt)
    text = next(a.prompt_text for a in before.answers if a.prompt == prompt)
    known = (
        [tag("div", tag("p", tag("strong", "good answer"), class_="muted"), said(gold), class_="gold")] if gold else []
    )
    return tag(
        "article",
        said(text),
        tag("div", _side(prompt, before, "before", gate), _side(prompt, after, side, gate), *known, class_="sides"),
    )


def _side(prompt: str, r: Round, name: str, gate: Measure) -> Html:
    answers = [a for a in r.answers if a.prompt == prompt]
    mean = r.ratings.get(prompt)
    title = [tag("strong", "initial model" if r.number == 0 else r.name)]
    return tag(
        "div",
        tag("p", *title, "" if mean is None else f" · {value_of(mean, gate)} on average", class_="muted"),
        *(_answer(answer, gate) for answer in answers),
        class_=name,
    )


def _answer(answer: Answered, gate: Measure) -> Html:
    found = mark(answer.score, gate)
    marks = [tag("span", f"{MARKS[found]} {found}", class_=f"mark {found}")] if found else []
    score = [] if found or answer.score is None else [number(answer.score)]
    words = [*marks, *score, *(["cut off"] if answer.finish == "length" else [])]
    return join([said(answer.text), *([tag("p", join(words, " · "), class_="remark")] if words else [])])
