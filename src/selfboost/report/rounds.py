"""One section per iteration: the decision, what was filtered, pairs, lengths, training curves, faults, examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from selfboost.measures import WIN_RATE
from selfboost.methods.parts.synthetic_preferences import PairYield
from selfboost.records import Answer, Pair
from selfboost.report.charts import curves, histogram
from selfboost.report.figures import figure
from selfboost.report.markup import Html, folded, said, table, tag
from selfboost.report.material import Round, Story
from selfboost.report.notes import note_charts
from selfboost.store import StageCard
from selfboost.views.sentences import gain_of, number, reason, value_of

NO_CURVE = (
    "step",
    "learning_rate",
    "gradient_norm",
    "seconds",
    "tokens_per_second",
    "utilisation",
    "memory_mb",
    "noise_gradient_norm",
    "noise_sigma_first",
    "noise_sigma_middle",
    "noise_sigma_last",
)
"""Columns of a training's history that say nothing about learning, or that the self-play section shows."""
TOGETHER = {"logp": "log-probability per token", "logp_sum": "log-probability of an answer"}
"""Columns, after `chosen_` and `rejected_`, whose two sides share a chart."""
AGAINST_REFERENCE = ("margin", "accuracy")
"""Columns that compare with the reference, including its noise if any."""
NO_FAULT = ("steps", "history", "facts", "warnings")


def iteration_sections(story: Story) -> list[Html]:
    """A section for each iteration after the initial model."""
    rounds = [r for r in story.rounds if r.number > 0]
    return [_iteration(story, r, newest=r is rounds[-1]) for r in rounds]


def _iteration(story: Story, r: Round, newest: bool) -> Html:
    entry = r.entry
    parts = [
        tag("p", tag("strong", entry.decision), f": {reason(story.summary, entry)}"),
        *(tag("p", f"{sentence}.", class_="warning") for sentence in entry.drift.alarms.values()),
        _sentence(story, r),
        tag("div", *note_charts(entry), *_distributions(r), class_="grid"),
        folded(
            "Training curves",
            tag("div", *_training([card for card in r.cards if card not in r.tries]), class_="grid"),
            open_=newest,
        ),
    ]
    if r.tries:
        parts.append(folded("Beta search", tag("div", *_training(r.tries), class_="grid")))
    faults = fault_rows(r.cards)
    if faults:
        parts.append(folded("Faults counted", table(["stage", "what", "rows"], faults, (2,)), open_=newest))
    if r.pairs.examples:
        pairs = [example(pair) for pair in r.pairs.examples]
        title = f"{len(pairs)} of {r.pairs.count:,} pairs, drawn at random, widest score gap first"
        parts.append(folded(title, *pairs, open_=newest))
    return tag("section", tag("h2", f"Iteration {r.number}"), *parts, id=f"iteration-{r.number}")


def _sentence(story: Story, r: Round) -> Html:
    """Sentences on pairs, the measures that do not decide, and agreement."""
    entry, summary = r.entry, story.summary
    sentences = [f"Trained on {entry.pairs:,} pairs, {r.pairs.count:,} of them new."] if entry.pairs else []
    if passed := entry.note(PairYield):
        missing = f" {passed.missing_pairs:,} more were wanted." if passed.missing_pairs else ""
        sentences.append(f"{number(passed.pass_rate, share=True)} of the candidate pairs passed the filter.{missing}")
    others = {name: row for name, row in entry.measures.items() if name not in (summary.gate_measure, WIN_RATE)}
    for name, row in others.items():
        if row.value is not None:
            measure = summary.measure(name)
            drift = f", {gain_of(row.gained, measure)} against the initial model" if row.gain is not None else ""
            sentences.append(f"Held-out {measure.title}: {value_of(row.value, measure)}{drift}.")
    if entry.agreement is not None:
        sentences.append(f"Sampler and trainer differ by {entry.agreement:.2g} nats per token.")
    return tag("p", " ".join(sentences))


def _distributions(r: Round) -> list[Html]:
    """Score gaps of the new pairs; lengths of chosen, rejected and measured answers."""
    charts: list[Html] = []
    if r.pairs.gaps:
        charts.append(figure("score gap of the new pairs", histogram({"gap": r.pairs.gaps}, x_label="score gap")))
    measured = [float(answer.tokens) for answer in r.answers]
    groups = {"chosen": r.pairs.chosen_lengths, "rejected": r.pairs.rejected_lengths, "held-out answers": measured}
    groups = {name: _shares(values, groups.values()) for name, values in groups.items() if values}
    if groups:
        charts.append(figure("length of answers", histogram(groups, x_label="tokens")))
    return charts


def _shares(values: Sequence[float], others: Iterable[Sequence[float]]) -> Sequence[float]:
    """Reduce groups to the size of the smallest, so that shapes rather than sizes are compared."""
    least = min(len(other) for other in others if other)
    return [values[i * len(values) // least] for i in range(least)]


def _training(cards: Sequence[StageCard]) -> list[Html]:
    charts: list[Html] = []
    for card in cards:
        if card.history:
            charts += _history(card.name.partition("/")[2] or card.name, card.history)
    return charts


def _history(stage: str, history: Sequence[Mapping[str, float]]) -> list[Html]:
    """Chosen and rejected log-probabilities in one chart as two lines; every other column by itself."""
    names = [name for name in history[0] if name not in NO_CURVE]
    lines = {name: [(float(row["step"]), float(row[name])) for row in history if name in row] for name in names}
    charts: list[Html] = []
    for kind, title in TOGETHER.items():
        drawn = {side: lines.pop(f"{side}_{kind}") for side in ("chosen", "rejected") if f"{side}_{kind}" in names}
        charts += [figure(f"{stage}: {title}", curves(drawn))] if drawn else []
    noisy = any("noise_sigma" in row for row in history)
    for name, line in lines.items():
        against = " (against the noisy reference)" if noisy and name in AGAINST_REFERENCE else ""
        title = f"{stage}: {name.replace('_', ' ')}{against}"
        charts.append(figure(title, curves({name: line}, share=name == "accuracy")))
    return charts


def fault_rows(cards: Sequence[StageCard]) -> list[list[str]]:
    """Every fault count that a stage noted: (stage, what, how many of how many)."""
    return [
        [card.name, name, f"{count:,} of {card.rows:,}"]
        for card in cards
        for name, count in card.notes.items()
        if name not in NO_FAULT and isinstance(count, int) and count
    ]


def example(pair: Pair) -> Html:
    """A pair with its path from keywords to answers."""
    origin = pair.prompt.origin
    way = [f"prompt from {origin.source}, iteration {origin.iteration}"]
    way += [f"keywords: {', '.join(origin.keywords)}"] if origin.keywords else []
    gap = "" if pair.gap is None else f"score gap {pair.gap:+.3f} by {pair.scorer}"
    return tag(
        "article",
        tag("p", tag("code", pair.id), *(f" · {part}" for part in [*way, gap] if part), class_="muted"),
        said("\n".join(m.content if m.role == "user" else f"{m.role}: {m.content}" for m in pair.prompt.messages)),
        tag(
            "div",
            _side(pair, "chosen", pair.chosen, pair.chosen_score),
            _side(pair, "rejected", pair.rejected, pair.rejected_score),
            class_="sides",
        ),
    )


def _side(pair: Pair, name: str, answer: Answer, score: float | None) -> Html:
    given = "the data" if pair.prompt.origin.source == "manual" else "the seed"
    author = given if answer.model == "given" else answer.model_name
    words = [f"by {author}", f"{len(answer.token_ids):,} tokens", answer.finish if answer.finish != "given" else ""]
    words += [f"score {score:.3f}"] if score is not None else []
    parts = [
        tag("p", tag("strong", name), *(f" · {word}" for word in words if word), class_="muted"),
        said(answer.text),
    ]
    if answer.prompt.id != pair.prompt.id:
        parts.append(folded("the request it was written for", said(answer.prompt.text)))
    return tag("div", *parts, class_=name)
