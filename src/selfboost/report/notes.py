"""A method's notes on an iteration, as charts and tables: our own notes by class, any other by its field names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from selfboost.methods.parts.beta_search import BetaSearched
from selfboost.methods.parts.distributions import Movement
from selfboost.methods.parts.labelling import Labels, Scores
from selfboost.methods.parts.synthetic_preferences import PairYield
from selfboost.notes import SomeNote, words
from selfboost.report.charts import bars
from selfboost.report.figures import figure
from selfboost.report.markup import Html, table, tag
from selfboost.report.material import Round
from selfboost.results import Iteration
from selfboost.views.sentences import number

ELSEWHERE = (PairYield, Movement)
"""Notes shown in other parts of the page."""
FATES = "what became of them"
AMONG_LABELS = ("ties", "unscored", "changed since the last iteration")
"""Counts of labels that are included in the others rather than separate outcomes."""


def note_charts(entry: Iteration) -> list[Html]:
    """A chart or a table for each note, in the order in which they were written."""
    drawn: dict[str, list[Html]] = {kind.kept_as: [] for kind in ELSEWHERE if entry.note(kind)}
    if labels := entry.note(Labels):
        drawn[Labels.kept_as] = [_labels(labels)]
    if scores := entry.note(Scores):
        drawn[Scores.kept_as] = [_scores(scores)]
    if searched := entry.note(BetaSearched):
        drawn[BetaSearched.kept_as] = [_searched(searched)]
    return [
        chart
        for name, kept in entry.notes.items()
        for chart in (drawn[name] if name in drawn else _any_note(name, kept))
    ]


def _among(labels: Labels) -> dict[str, int]:
    """The counts that are included in the others."""
    return dict(zip(AMONG_LABELS, (labels.ties, labels.unscored, labels.changed), strict=True))


def _labels(labels: Labels) -> Html:
    fates = {"gold chosen": labels.gold_chosen, "generated chosen": labels.generated_chosen, **labels.no_pair}
    parts = ", ".join(f"{name} {count:,}" for name, count in _among(labels).items())
    return figure(f"labels: {FATES}", bars(fates), tag("p", f"Among them: {parts}.", class_="remark"))


def _scores(scores: Scores) -> Html:
    means = {"gold mean": scores.gold_mean, "generated mean": scores.generated_mean}
    shares = {
        "generated beats gold": scores.generated_beats_gold,
        "equal scores": scores.ties,
        "without a value": scores.without_a_value,
    }
    cells = [[name, f"{mean:.4g}"] for name, mean in means.items() if mean is not None]
    cells += [[name, number(share, share=True)] for name, share in shares.items() if share is not None]
    return figure("scores", table([], cells, (1,)))


def _searched(found: BetaSearched) -> Html:
    tried = [[f"beta {beta}", f"{mean:.4g}"] for beta, mean in found.tried.items()]
    by = [tag("p", f"By the mean of {found.measure} on the validation prompts.", class_="remark")] if tried else []
    return figure("beta search", table([], [*tried, ["chosen", f"{found.chosen:g}"]], (1,)), *by)


def _any_note(name: str, note: Any) -> list[Html]:
    """Mappings from text to whole numbers as bars, all else as a table."""
    title = words(name)
    if not isinstance(note, Mapping):
        return [figure("notes", table([], [[title, str(note)]]))]
    fields = cast(Mapping[str, Any], note)
    counts = {key: value for key, value in fields.items() if _is_counts(value)}
    cells = [[words(key), _shown(value)] for key, value in fields.items() if key not in counts]
    charts = [
        figure(f"{title}: {FATES if key == 'counts' else words(key)}", bars(found)) for key, found in counts.items()
    ]
    return charts + ([figure(title, table([], cells, (1,)))] if cells else [])


def _is_counts(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    numbers = cast(Mapping[str, Any], value).values()
    return bool(numbers) and all(isinstance(number, int) for number in numbers)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{words(key)} {_shown(each)}" for key, each in cast(Mapping[str, Any], value).items())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def labels_table(played: Sequence[Round]) -> Html:
    """Outcomes of the labels, by iteration."""
    known = noted(played, Labels)
    reasons = list(dict.fromkeys(reason for _, labels in known for reason in labels.no_pair))
    headings = ["labels", "gold chosen", "generated chosen", *reasons, *AMONG_LABELS, "generated beats gold"]
    cells: list[list[str]] = []
    for r, labels in known:
        fates = [labels.gold_chosen, labels.generated_chosen, *(labels.no_pair.get(reason, 0) for reason in reasons)]
        scores = r.entry.note(Scores)
        beats = number(scores.generated_beats_gold if scores else None, share=True)
        cells.append([r.name, *(f"{count:,}" for count in (*fates, *_among(labels).values())), beats])
    return table(headings, cells, tuple(range(1, len(headings)))) if cells else Html("")


def noted(rounds: Sequence[Round], kind: type[SomeNote]) -> list[tuple[Round, SomeNote]]:
    """The iterations that have a note of a kind, with it."""
    return [(r, note) for r in rounds if (note := r.entry.note(kind))]
