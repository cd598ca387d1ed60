"""Signs of collapse by iteration: repetition, variety, lengths, answers that never end; sampler and trainer agreement.

Cheap statistics of the held-out answers and of the new prompts. Leaves out anything that needs a model.
"""

from __future__ import annotations

from collections.abc import Sequence

from selfboost.report.charts import curves, figure
from selfboost.report.markup import Html, table, tag
from selfboost.report.material import Answered, MeasuredModel, Round, Story
from selfboost.statistics import distinct, quantiles, repeated_share
from selfboost.views.sentences import number

HEADINGS = [
    "model",
    "length p10 / median / p90",
    "cut off %",
    "empty %",
    "repeated 4-grams %",
    "over half repeated %",
    "distinct-1",
    "distinct-2",
    "as the initial model %",
    "distinct-2 of new prompts",
    "sampler and trainer differ by",
]


def health(story: Story) -> Html:
    """The panel: a row per model, and repetition and variety as charts."""
    rounds = [r for r in (*story.rounds, *story.beside) if r.answers]
    if not rounds:
        return Html("")
    cut = min(_median(r.answers) for r in rounds)
    first = {(a.prompt, a.text) for a in rounds[0].answers}
    rows = [[r.name, *_row(r, cut, first if r is not rounds[0] else set())] for r in rounds]
    return tag(
        "section",
        tag("h2", "Health"),
        table(HEADINGS, rows, tuple(range(1, len(HEADINGS)))),
        tag(
            "p",
            "Held-out answers, words as units. Distinct-n is the share of n-grams without repeats, each answer cut "
            f"to its first {cut} words so that longer answers are not penalised; it falls as answers become alike.",
            class_="muted",
        ),
        _drift(story),
        id="health",
    )


def _median(answers: Sequence[Answered]) -> int:
    return max(4, round(quantiles([len(a.text.split()) for a in answers], (0.5,))[0]))


def _row(r: MeasuredModel, cut: int, first: set[tuple[str, str]]) -> list[str]:
    words = [answer.text.split() for answer in r.answers]
    count = len(words)
    repeated = [repeated_share(w) for w in words]
    low, middle, high = quantiles([float(a.tokens) for a in r.answers])
    prompts = [prompt.text.split() for prompt in r.pairs.prompts]
    agreement = r.entry.agreement if isinstance(r, Round) else None

    def percent(part: float) -> str:
        return number(part / count, share=True, unit=False)

    return [
        f"{low:.0f} / {middle:.0f} / {high:.0f}",
        percent(sum(a.finish == "length" for a in r.answers)),
        percent(sum(not a.text.strip() for a in r.answers)),
        percent(sum(repeated)),
        percent(sum(share > 0.5 for share in repeated)),
        number(distinct(words, 1, cut)),
        number(distinct(words, 2, cut)),
        percent(sum((a.prompt, a.text) in first for a in r.answers)) if first else "",
        number(distinct(prompts, 2)) if prompts else "",
        "" if agreement is None else f"{agreement:.2g}",
    ]


def _drift(story: Story) -> Html:
    """Log-probabilities at the end of each iteration's training, chosen and rejected apart."""
    ends: dict[str, list[tuple[float, float]]] = {"chosen": [], "rejected": []}
    for r in story.rounds:
        for card in r.policy_trainings:
            history = card.history
            for side, points in ends.items():
                if history and f"{side}_logp" in history[-1]:
                    points.append((float(r.number), float(history[-1][f"{side}_logp"])))
    if not ends["chosen"]:
        return Html("")
    drawn = curves(ends, x_label="iteration")
    return tag("div", figure("log-probability per token at the end of training", drawn), class_="grid")
