"""Self-play over its iterations: the new policy's log-probabilities, labels, noise, and whether it still moves.

The plots of DNPO's paper (arXiv 2502.05400), from the stages of `selfboost.methods.parts.distributions`, the
iterations' notes and the histories of their trainings. Each part is shown if its data was kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selfboost import store
from selfboost.measures import Estimated
from selfboost.methods.parts.distributions import FOLDER, INITIAL, SIDES, Movement, reply, reward
from selfboost.methods.parts.labelling import Labels, Scores
from selfboost.records import Pair, Verdict
from selfboost.report.charts import curves, histogram, outcomes
from selfboost.report.figures import figure
from selfboost.report.markup import Html, table, tag
from selfboost.report.material import Round, Story, outcome
from selfboost.report.notes import labels_table, noted

LIKELY = (-2.0, 0.0)
"""Mean log-probabilities per token that the histograms show, as the paper's do."""
OUTLINES = 4
"""Most groups in one histogram."""
SIGMAS = {
    "noise_sigma": "mean",
    "noise_sigma_first": "first token",
    "noise_sigma_middle": "middle token",
    "noise_sigma_last": "last token",
}
FACTS = {"noise_scale": "noise scale c", "noise_start": "mean of β·m before the first step"}
READING = (
    "How to read it: a policy moves where its divergence lies above what rounding alone gives. The divergence bounds "
    "what can have changed: no score between 0 and 1 by more than the column says. Self-play has stalled where that "
    "bound is below any gain worth having. A policy that collapses moves too: read this beside the held-out score."
)
UNITS = (
    "Divergence: KL(new policy ‖ the one before it) on its own samples at temperature 1, in nats, per answer by the "
    "estimator k3, per token by k1; by rounding: the upper end of the former between sampler and trainer, one policy. "
    "Shifts: paired change of the mean log-probability per token, of gold answers and of chosen minus rejected ones. "
    "Reward margin: β·(change of the summed log-probability), chosen minus rejected. 95 % intervals over prompts."
)
Values = list[float]


@dataclass(frozen=True, kw_only=True)
class Moves:
    """The log-probabilities that one iteration kept."""

    likely: Mapping[str, Values] = field(default_factory=dict[str, Values])
    """`chosen`, `rejected` and `generated` → mean log-probability per token under the new policy."""
    rewards: Mapping[str, Values] = field(default_factory=dict[str, Values])
    """`chosen` and `rejected` → implicit rewards."""


def self_play_section(story: Story) -> Html:
    """The section; empty if no iteration kept anything for it."""
    played = [r for r in story.rounds if r.number > 0]
    if not (
        noted(played, Movement)
        or noted(played, Labels)
        or noted(played, Scores)
        or any("noise_loss" in row for r in played for row in _history(r))
    ):
        return Html("")
    try:
        moves = _moves(story.root, played, story.cards)
        text = Html("")
    except (OSError, ValueError) as error:
        moves, text = {}, tag("p", f"Not all can be shown ({str(error).partition(chr(10))[0]}).", class_="warning")
    groups = {
        "Does it still move?": [_stagnation(played)],
        "Against former policies and gold": [_grid(_games(story, played) + _scores(played)), labels_table(played)],
        "What is likely": [_grid(_likely(moves) + _rewards(moves))],
        "Losses and noise": [_grid(_losses(played)), _facts(played)],
    }
    parts = [tag("div", tag("h3", title), *found) for title, found in groups.items() if any(found)]
    return tag("section", tag("h2", "Self-play"), text, *parts, id="self-play")


def _grid(charts: Sequence[Html]) -> Html:
    return tag("div", *charts, class_="grid") if charts else Html("")


# Data of the stages.


def _moves(root: Path, played: Sequence[Round], cards: Sequence[store.StageCard]) -> dict[str, Moves]:
    """By the name of the model, the initial one last."""
    found: dict[str, Moves] = {}
    for r in played:
        kept = {card.name.rpartition("/")[2]: card for card in r.cards if f"/{FOLDER}/" in card.name}
        names = {"chosen": "chosen-after", "rejected": "rejected-after", "generated": "samples-after"}
        likely = {name: _known(root, kept[stage]) for name, stage in names.items() if stage in kept}
        found[r.name] = Moves(likely=likely, rewards=_side_rewards(root, r, kept))
    initial = next((card for card in cards if card.name == f"{INITIAL}-logps"), None)
    return found | ({"initial model": Moves(likely={"generated": _known(root, initial)})} if initial else {})


def _known(root: Path, card: store.StageCard) -> Values:
    return [verdict.value for verdict in _verdicts(root, card) if verdict.value is not None]


def _verdicts(root: Path, card: store.StageCard) -> Iterator[Verdict]:
    return iter(store.stored_rows(root, card, Verdict))


def _side_rewards(root: Path, r: Round, kept: Mapping[str, store.StageCard]) -> dict[str, Values]:
    """Means per token become sums by the length of the answers, taken from the training's pairs."""
    movement = r.entry.note(Movement)
    beta = movement.beta if movement else None
    if beta is None or not {f"{side}-{when}" for side in SIDES for when in ("before", "after")} <= kept.keys():
        return {}
    changes: dict[str, dict[str, float]] = {}
    for side in SIDES:
        both = zip(
            *(store.stored_rows(root, kept[f"{side}-{when}"], Verdict) for when in ("before", "after")), strict=True
        )
        changes[side] = {o.answer: n.value - o.value for o, n in both if o.value is not None and n.value is not None}
    found: dict[str, dict[str, float]] = {side: {} for side in SIDES}
    for card in r.policy_trainings:
        for pair in store.stored_rows(root, card, Pair):
            for side in SIDES:
                answer = reply(pair, side)
                if (change := changes[side].get(answer.id)) is not None:
                    found[side][answer.id] = reward(beta, answer, change)
    return {side: list(values.values()) for side, values in found.items()}


# Histograms.


def _likely(moves: Mapping[str, Moves]) -> list[Html]:
    charts: list[Html] = []
    for kind, title in {
        "chosen": "chosen answers under the new policy",
        "rejected": "rejected answers under the new policy",
        "generated": "each policy's own answers under itself",
    }.items():
        groups = {name: moves[name].likely[kind] for name in _shown([n for n in moves if moves[n].likely.get(kind)])}
        if groups:
            drawing = histogram(groups, x_label="mean log-probability per token", within=LIKELY, share=True)
            charts.append(figure(title, drawing, _below(groups)))
    return charts


def _shown(names: Sequence[str]) -> list[str]:
    """The first and the last ones, if there are more than a chart has colours."""
    return list(names) if len(names) <= OUTLINES else [names[0], *names[1 - OUTLINES :]]


def _below(groups: Mapping[str, Values]) -> Html:
    outside = {name: sum(value < LIKELY[0] for value in values) for name, values in groups.items()}
    text = ", ".join(f"{count:,} of {len(groups[name]):,} ({name})" for name, count in outside.items() if count)
    first = f"Counted in the first bin, because below {LIKELY[0]:g}: {text}."
    return tag("p", first if text else f"No value is below {LIKELY[0]:g}.", class_="remark")


def _rewards(moves: Mapping[str, Moves]) -> list[Html]:
    return [
        figure(f"implicit rewards, {name}", histogram(moves[name].rewards, x_label="reward", share=True))
        for name in _shown([name for name, each in moves.items() if any(each.rewards.values())])
    ]


# Trainings.


def _history(r: Round) -> list[Mapping[str, float]]:
    return [row for card in r.policy_trainings for row in card.history]


def _losses(played: Sequence[Round]) -> list[Html]:
    """Over the steps of all iterations, one after another."""
    steps, begins = _steps(played)
    marks = begins[1:]
    charts: list[Html] = []
    for title, names in {
        "loss by step": {"loss": "policy", "noise_loss": "noise"},
        "strength σ of the noise by step": SIGMAS,
        "what the noise adds to the reference's log-probability": {"noise_shift": "nats per rejected answer"},
    }.items():
        lines = {text: [(step, row[name]) for step, row in steps if name in row] for name, text in names.items()}
        lines = {name: line for name, line in lines.items() if line}
        if lines:
            charts.append(figure(title, curves(lines, x_label="step, all iterations in a row", marks=marks)))
    return charts


def _steps(played: Sequence[Round]) -> tuple[list[tuple[float, Mapping[str, float]]], list[float]]:
    """Every logged step, numbered over all iterations, and where each iteration begins."""
    steps: list[tuple[float, Mapping[str, float]]] = []
    begins: list[float] = []
    for r in played:
        begins.append(steps[-1][0] if steps else 0.0)
        steps += [(begins[-1] + row["step"], row) for row in _history(r)]
    return steps, begins


def _facts(played: Sequence[Round]) -> Html:
    facts: dict[str, dict[str, float]] = {r.name: {} for r in played}
    for r in played:
        for card in r.policy_trainings:
            facts[r.name] |= card.facts
    names = [name for name in FACTS if any(name in each for each in facts.values())]
    cells = [[text, *(_cell(each.get(name)) for name in names)] for text, each in facts.items() if each]
    headings = ["training", *(FACTS[name] for name in names)]
    return table(headings, cells, tuple(range(1, len(headings)))) if names else Html("")


# Comparisons and labels.


def _games(story: Story, played: Sequence[Round]) -> list[Html]:
    """Of the new policy against the one before it and the initial model, by the gate's measure."""
    initial = next((r for r in story.rounds if r.number == 0), None)
    if initial is None or not initial.ratings:
        return []
    results: dict[str, tuple[float, float, float]] = {}
    gate = story.summary.gate
    before = initial
    for r in (r for r in played if r.ratings):
        if before is not initial:
            results[f"{r.number} against {before.number}"] = outcome(r.ratings, before.ratings, gate.sign)
        results[f"{r.number} against 0"] = outcome(r.ratings, initial.ratings, gate.sign)
        before = r if r.entry.decision == "promoted" else before
    title = f"policies on held-out prompts ({gate.title}); 0 is the initial model"
    return [figure(title, outcomes(results))] if results else []


def _scores(played: Sequence[Round]) -> list[Html]:
    """Own answers against gold ones by the scorer of the labels: how many win, and mean scores."""
    notes = noted(played, Scores)
    shares = {r.number: (note.generated_beats_gold, note.ties) for r, note in notes}
    wins = {
        str(at): (won, tied, max(0.0, 1 - won - tied))
        for at, (won, tied) in shares.items()
        if won is not None and tied is not None
    }
    means = {
        "generated": [(float(r.number), note.generated_mean) for r, note in notes if note.generated_mean is not None],
        "gold": [(float(r.number), note.gold_mean) for r, note in notes if note.gold_mean is not None],
    }
    if not wins:
        return []
    return [
        figure("generated answers against gold by iteration and the labels' scores", outcomes(wins)),
        figure("mean score by iteration; generated by the policy before it", curves(means, x_label="iteration")),
    ]


def _stagnation(played: Sequence[Round]) -> Html:
    """A row per iteration: whether, and how far, the new policy has moved."""
    columns = ["moves", *_moved(Movement())]
    words = {True: "yes", False: "no", None: ""}
    cells = [
        [r.name, words[found.moves], *map(_with_interval, _moved(found).values())]
        for r, found in noted(played, Movement)
    ]
    if not cells:
        return Html("")
    grid = table(["iteration", *columns], cells, tuple(range(1, len(columns) + 1)))
    return tag("div", tag("p", READING), grid, tag("p", UNITS, class_="muted"))


def _moved(found: Movement) -> dict[str, Estimated]:
    """Column → value."""
    chance = found.moved_by_chance or Estimated()
    return {
        "divergence per answer": found.moved or found.kl_to_previous or Estimated(),
        "by rounding": Estimated(value=chance.high),
        "bounds a change of scores by": Estimated(value=found.most_changed),
        "per token": found.kl_per_token or Estimated(),
        "shift of gold": found.gold_shift or Estimated(),
        "shift of chosen over rejected": found.margin_shift or Estimated(),
        "chosen shift": Estimated(value=found.chosen_shift),
        "rejected shift": Estimated(value=found.rejected_shift),
        "reward margin": Estimated(value=found.reward_margin),
    }


def _with_interval(found: Estimated) -> Html:
    around = tag("small", f" [{_cell(found.low)}, {_cell(found.high)}]") if found.low is not None else Html("")
    return tag("span", _cell(found.value), around)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
