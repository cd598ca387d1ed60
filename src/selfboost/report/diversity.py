"""How new and how varied a run's own prompts are, compared with its seed and with plain self-instruct.

Figures 4 and 5 of SynPO (arXiv 2410.06961), by the measures of `selfboost.prompts.diversity`. Empty for runs without
prompts of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from selfboost.prompts import diversity
from selfboost.prompts.diversity import LEAST, MOST, SAMPLED, TOPICS, Likeness
from selfboost.records import Prompt
from selfboost.report.charts import bars, curves, histogram
from selfboost.report.figures import figure
from selfboost.report.markup import Html, table, tag
from selfboost.report.prompts import RunPrompts
from selfboost.statistics import quantiles
from selfboost.views.sentences import number

WRITTEN, PLAIN = "written by this run", "self-instruct"
COMMONEST = 8
"""Intentions shown per group."""
MEASURES = {
    "prompts": "all of the group",
    "similarity within": "mean cosine of tf-idf vectors of words; lower is more varied",
    "similarity to the seed": "the same against the seed's prompts; lower is newer",
    "ROUGE-L to the nearest seed prompt": "F1 of the longest common subsequence of words, itself left out, mean of "
    f"at most {SAMPLED} prompts; lower is newer",
    "intentions": "different first question words or instructing verbs; more is more varied",
    "intentions, bits": "entropy of the same; more is more varied",
    "commonest intention %": "lower is more varied",
    "effective topics": f"2 to the entropy over {TOPICS} k-means clusters of all groups together; more is more varied",
    "words p10 / median / p90": "length",
    "keywords held %": "of the keywords requested; a generator is taught to leave some out",
    "all keywords held %": "prompts that contain every one",
}
"""Name → what it is, and which direction is better."""
Prompts = Mapping[str, Prompt]


def diversity_section(prompts: RunPrompts) -> Html:
    """The section; empty where a run wrote no prompts."""
    written: dict[str, Prompt] = {text: p for group in prompts.iterations.values() for text, p in group.items()}
    groups = {prompts.seed_name: prompts.seed, WRITTEN: written, PLAIN: prompts.self_instruct}
    groups = {name: group for name, group in groups.items() if group}
    if not written and not prompts.self_instruct:
        return Html("")
    drawn = diversity.equal_draws(groups)
    return tag(
        "section",
        tag("h2", "Prompts: how new, how varied"),
        _left_out(groups, drawn),
        *_compared(groups, drawn, prompts) if drawn.keys() - {prompts.seed_name} else (),
        id="prompts",
    )


def _left_out(groups: Mapping[str, Prompts], drawn: Mapping[str, Sequence[str]]) -> Html:
    few = [f"{name} ({len(group):,} prompts)" for name, group in groups.items() if name not in drawn]
    return tag("p", f"Too few to compare, {LEAST} are needed: {', '.join(few)}.") if few else Html("")


def _compared(groups: Mapping[str, Prompts], drawn: Mapping[str, Sequence[str]], prompts: RunPrompts) -> list[Html]:
    vectors = diversity.group_vectors(drawn)
    alike = diversity.likeness(drawn, vectors, prompts.seed_name)
    labels = iter(diversity.topics(list(vectors.values())))
    columns: list[list[str]] = []
    for name, texts in drawn.items():
        topics = Counter(next(labels) for _ in texts)
        cells = _likeness_cells(alike[name], list(prompts.seed)) + _spread_cells(texts, topics)
        columns.append([f"{len(groups[name]):,}", *cells, *_keyword_cells([groups[name][text] for text in texts])])
    rows = [[name, *cells, meaning] for (name, meaning), *cells in zip(MEASURES.items(), *columns, strict=True)]
    size = len(next(iter(drawn.values())))
    drawing = histogram({name: each.within for name, each in alike.items()}, x_label="mean cosine to the others")
    title = f"similarity of each prompt to the others of its group, {size:,} prompts of each"
    charts = [figure(title, drawing), *_by_iteration(prompts)]
    caveat = (
        f"{size:,} prompts of each group are compared (at most {MOST:,}), drawn by hash. Word statistics cannot tell "
        "sense from nonsense: variety is good only in prompts that make sense."
    )
    if PLAIN in drawn:
        caveat += (
            " From self-instruct only exact repetitions were dropped, however this run's own prompts were filtered."
        )
    return [
        tag("div", *charts, class_="grid"),
        table(["measure", *drawn, "what it is"], rows, tuple(range(1, len(drawn) + 1)), class_="side-by-side"),
        tag("p", caveat, class_="muted"),
        tag("div", *(_intentions(name, texts) for name, texts in drawn.items()), class_="grid"),
    ]


def _likeness_cells(each: Likeness, seed: Sequence[str]) -> list[str]:
    nearest = diversity.nearest_overlaps(each.texts[:SAMPLED], seed) if seed else ()
    means = [sum(known) / len(known) if known else None for known in (each.within, each.to_reference, nearest)]
    return ["" if mean is None else f"{mean:.3f}" for mean in means]


def _spread_cells(texts: Sequence[str], topics: Counter[int]) -> list[str]:
    """Intentions, topics, lengths."""
    intentions = Counter(map(diversity.intention, texts))
    return [
        f"{len(intentions):,}",
        number(diversity.entropy_bits(intentions.values())),
        number(max(intentions.values()) / len(texts), share=True, unit=False),
        f"{2 ** diversity.entropy_bits(topics.values()):.1f}",
        " / ".join(f"{words:.0f}" for words in quantiles([len(text.split()) for text in texts])),
    ]


def _keyword_cells(prompts: Sequence[Prompt]) -> list[str]:
    held = [diversity.keyword_coverage(p.text, p.origin.keywords) for p in prompts if p.origin.keywords]
    shares = [sum(held) / len(held), sum(share == 1 for share in held) / len(held)] if held else [None, None]
    return ["" if share is None else number(share, share=True, unit=False) for share in shares]


def _by_iteration(prompts: RunPrompts) -> list[Html]:
    """Mean similarities of each iteration's prompts, equally many of each, if there are several iterations."""
    names = {f"iteration {i}": i for i in sorted(prompts.iterations)}
    groups = {prompts.seed_name: prompts.seed} | {name: prompts.iterations[i] for name, i in names.items()}
    drawn = diversity.equal_draws(groups)
    if len(drawn.keys() & names.keys()) < 2:
        return []
    alike = diversity.likeness(drawn, diversity.group_vectors(drawn), prompts.seed_name)
    lines: dict[str, list[tuple[float, float]]] = {"within the iteration": [], "to the seed": [], "within the seed": []}
    seed = alike[prompts.seed_name].within if prompts.seed_name in alike else ()
    for name in alike.keys() - {prompts.seed_name}:
        values = alike[name].within, alike[name].to_reference, seed
        for line, known in zip(lines.values(), values, strict=True):
            line += [(float(names[name]), sum(known) / len(known))] if known else []
    drawing = curves({name: sorted(line) for name, line in lines.items() if line}, x_label="iteration")
    size = len(next(iter(drawn.values())))
    return [figure(f"mean similarity by iteration, {size:,} prompts of each", drawing)]


def _intentions(name: str, texts: Sequence[str]) -> Html:
    counts = Counter(map(diversity.intention, texts))
    shown = dict(counts.most_common(COMMONEST))
    return figure(f"{name}: the {len(shown)} commonest of {len(counts):,} intentions", bars(shown, highlighted=""))
