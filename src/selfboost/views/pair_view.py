"""What `selfboost inspect DIR pair ID` shows: one preference pair, the origin of each side, its tokens, the loss mask.

The tokens are those that were trained on, truncated as in training. Leaves out the other pairs.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from selfboost import store
from selfboost.records import Answer, Origin, Pair, Prompt, Sampling
from selfboost.results import check_is_run
from selfboost.train.packs.rows import Row, pair_items
from selfboost.views.streams import console
from selfboost.views.visible import visible

Decode = Callable[[Sequence[int]], str]
MASKED, TRAINED = "○", "●"
Found = tuple[Pair, list[store.StageCard]]
"""A pair and the stages that were trained on it."""


def print_pair(root: Path, pair_id: str) -> None:
    """Print a pair, with its tokens as text too if the run's tokenizer can be opened."""
    found = find_pair(root, pair_id)
    console().print(_view(found, _decoder(root)))


def pair_view(root: Path, pair_id: str, decode: Decode | None = None) -> RenderableType:
    """A pair as a rich renderable; `decode` turns token ids into text; without it only ids are shown.

    Raises:
        ValueError: no pair, or more than one, begins with this id.
    """
    return _view(find_pair(root, pair_id), decode)


def find_pair(root: Path, pair_id: str) -> Found:
    """A pair by its id or a prefix of it, with or without `pair-`.

    Raises:
        ValueError: no pair, or more than one, begins with it; names the nearest.
    """
    wanted = "pair-" + pair_id.removeprefix("pair-")
    ids: set[str] = set()
    found: dict[str, Found] = {}
    for card, pair in _pairs(root):
        ids.add(identity := pair.id)
        if identity.startswith(wanted):
            found.setdefault(identity, (pair, []))[1].append(card)
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise ValueError(f"{pair_id!r}: {len(found)} pairs begin with this: {', '.join(sorted(found)[:5])} …")
    if not ids:
        check_is_run(root)
        raise ValueError(f"{root}: no stage of this run has been trained on pairs yet")
    near = difflib.get_close_matches(wanted, ids, n=3, cutoff=0) or sorted(ids)[:3]
    raise ValueError(f"{pair_id!r}: no such pair among the {len(ids):,} of this run; nearest: {', '.join(near)}")


def _pairs(root: Path) -> Iterator[tuple[store.StageCard, Pair]]:
    for card in store.cards(root):
        if card.verb == "prefer":
            for pair in store.read_rows(root, card, Pair):
                yield card, pair


def _decoder(root: Path) -> Decode | None:
    """The run's tokenizer; None where it cannot be opened here."""
    from selfboost import results
    from selfboost.recipe import read_section
    from selfboost.records import Model

    try:
        table = results.recipe_table(root)
        model, engine = (read_section(name, table, root) for name in ("model", "engine"))
        path = model.location
        return engine.tokenizer(Model(name="initial", path=path, fingerprint="")).text
    except (ValueError, OSError, ImportError):
        return None


def _view(found: Found, decode: Decode | None) -> RenderableType:
    pair, cards = found
    [item] = pair_items([pair], _max_length(cards))
    parts: list[RenderableType] = [
        Rule(Text(pair.id, style="bold"), align="left"),
        _facts(_pair_facts(pair, cards)),
        *_quoted(pair.prompt),
    ]
    for name, answer, score, row in (
        ("chosen", pair.chosen, pair.chosen_score, item.rows[0]),
        ("rejected", pair.rejected, pair.rejected_score, item.rows[1]),
    ):
        parts += [Text(), Rule(Text(name, style="bold"), align="left"), _facts(_side_facts(pair, answer, score))]
        parts += [Text(), Text(visible(answer.text)), Text(), *_tokens(row, decode)]
    if item.cuts:
        parts.append(Text(f"Truncated to max_length = {_max_length(cards)} in training.", style="bold"))
    if decode is None:
        parts.append(Text("The run's tokenizer cannot be opened here: only ids are shown.", style="dim"))
    return Group(*parts)


def _max_length(cards: Sequence[store.StageCard]) -> int:
    training = cards[-1].parts.get("training")
    length = cast(Mapping[str, Any], training).get("max_length") if isinstance(training, Mapping) else None
    return length if isinstance(length, int) and length > 0 else sys.maxsize


def _pair_facts(pair: Pair, cards: Sequence[store.StageCard]) -> list[tuple[str, str]]:
    gap = "" if pair.gap is None else f"{pair.gap:+.4f} by {pair.scorer or 'no scorer'}"
    return [
        ("made in", f"iteration {pair.iteration}"),
        ("trained on in", ", ".join(card.name for card in cards)),
        ("score gap", gap or "no score was needed"),
        ("prompt", pair.prompt.id),
        *_origin(pair.prompt.origin),
    ]


def _origin(origin: Origin) -> list[tuple[str, str]]:
    facts = [("prompt from", f"{origin.source}, iteration {origin.iteration}")]
    facts += [("keywords", ", ".join(origin.keywords))] if origin.keywords else []
    return facts + ([("made from", origin.parent)] if origin.parent else [])


def _side_facts(pair: Pair, answer: Answer, score: float | None) -> list[tuple[str, str]]:
    facts = [("answer", answer.id), ("written by", _author(answer))]
    if score is not None:
        facts.append(("score", f"{score:.4f}"))
    if answer.prompt.id != pair.prompt.id:
        facts.append(("written for", f"{answer.prompt.id} ({answer.prompt.origin.source}): {answer.prompt.text}"))
        facts += [("made from", answer.prompt.origin.parent)] if answer.prompt.origin.parent else []
    if answer.sampling is not None:
        facts += [("sampled with", _settings(answer.sampling)), ("seed", f"{answer.seed}, sample {answer.index}")]
    return [*facts, ("ended", f"{answer.finish} {answer.reason}".strip())]


def _settings(sampling: Sampling) -> str:
    """Temperature and length always, the rest only where it has an effect."""
    idle = asdict(Sampling())
    values = asdict(sampling).items()
    return ", ".join(f"{k} {v}" for k, v in values if k in ("temperature", "max_tokens") or v != idle[k])


def _author(answer: Answer) -> str:
    if answer.model == "given":
        return "a person (the seed's answer)"
    return f"{answer.model_name} ({answer.model[:12]})"


def _facts(facts: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, Text(visible(value)))
    return table


def _quoted(prompt: Prompt) -> list[RenderableType]:
    messages = [Text(visible(f"{message.role}: {message.content}")) for message in prompt.messages]
    prefix = [Text(visible(f"assistant begins: {prompt.prefix}"))] if prompt.prefix else []
    return [Text(), *messages, *prefix]


def _tokens(row: Row, decode: Decode | None) -> list[RenderableType]:
    """The training row token by token: the prompt is masked, the completion trained."""
    masked = [_token(MASKED, identity, decode, "dim") for identity in row.prompt_ids]
    trained = [_token(TRAINED, identity, decode, "bold green") for identity in row.token_ids]
    return [
        Text(f"{len(masked)} prompt tokens, masked {MASKED} (no loss)", style="dim"),
        Columns(masked, padding=(0, 2)),
        Text(f"{len(trained)} completion tokens, trained {TRAINED}"),
        Columns(trained, padding=(0, 2)),
    ]


def _token(mark: str, identity: int, decode: Decode | None, style: str) -> Text:
    token = Text(f"{mark} {identity}", style=style, no_wrap=True)
    if decode is not None:
        text = decode([identity])
        shown = visible(text).replace("\n", "\\n").replace("\t", "\\t")
        token.append(f" “{shown}”" if text else " (special)", style="not bold")
    return token
