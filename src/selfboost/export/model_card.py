"""The model card and the card of the pairs: Markdown whose every text from elsewhere is shown as it is."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from selfboost import store
from selfboost.data.hub_data import NAME
from selfboost.disk.files import open_to_read
from selfboost.export.licence import NOT_STATED, licence_of
from selfboost.export.pairs import FOLDER, PairCounts
from selfboost.recipe_text import toml_value
from selfboost.records import Verdict
from selfboost.results.differing import differing
from selfboost.results.environment import described
from selfboost.results.models import RunModel
from selfboost.views.sentences import broke_off, headline
from selfboost.views.summary import RunSummary
from selfboost.views.table import table_cells
from selfboost.views.visible import visible

LONGEST = 300
"""Most characters of a setting's value that are shown."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What a card tells of."""

    model: RunModel
    run: RunSummary
    pairs: PairCounts
    adapter_base: str = ""
    """For an adapter alone: the model that it belongs on."""
    gguf: str = ""
    """For a GGUF file: whether it is verified, and by which figures."""

    @property
    def base(self) -> str:
        """The initial model, as the recipe names it."""
        return str(self.run.recipe.get("model", {}).get("path", ""))

    @cached_property
    def licence(self) -> str:
        """The base model's licence, or `not stated`."""
        return licence_of(_location(self))


def model_card(story: Exported) -> str:
    """The README.md of an exported model."""
    run, number = story.run, story.model.entry.iteration
    method = _code(run.method or "?")
    kind = "A LoRA adapter" if story.adapter_base else "A language model"
    kind += " in llama.cpp's format" if story.gguf else ""
    made = (
        f"{kind} that selfboost trained by the method {method} from {_code(story.base)}: iteration {number} of its run."
    )
    parts = [
        _front_matter(story),
        f"# {visible(Path(story.base).name) or 'model'}, iteration {number}",
        made,
        *([f"It belongs on {story.adapter_base}."] if story.adapter_base else []),
        *(["## Conversion", _cell(story.gguf)] if story.gguf else []),
        "## Results",
        *_results(story),
        "## Data",
        *_data(story),
        "## Settings",
        "Settings that differ from selfboost's defaults; the others are at their default.",
        _table(("setting", "value"), [(_code(each.name), _code(_short(each.value))) for each in differing(run.recipe)]),
        "## Environment",
        *_environments(run),
        "## Licence",
        f"Licence of the base model {_code(story.base)}: {_licence(story.licence)}.",
    ]
    return "\n\n".join(parts) + "\n"


def pairs_card(run: RunSummary, counts: PairCounts) -> str:
    """The README.md of the pairs."""
    front = ["configs:", "- config_name: default", "  data_files:", "  - split: train", "    path: data/*.parquet"]
    tags = ["tags:", "- preference", "- selfboost"]
    method = _code(run.method or "?")
    parts = [
        "\n".join(["---", *front, *tags, "---"]),
        "# Preference pairs of a selfboost run",
        f"{counts.total:,} pairs that a run of {method} made and trained on. `prompt`, `chosen` and `rejected` are "
        "lists of messages. Texts were sampled from models unless `chosen_model` or `rejected_model` says `given`.",
        *_pair_tables(counts),
        "Licences of the seed data and of the models that wrote the answers apply.",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(story: Exported) -> str:
    base, licence = story.base, story.licence
    lines = [f"base_model: {json.dumps(base)}"] if NAME.fullmatch(base) and not Path(base).exists() else []
    lines += [f"license: {json.dumps(licence)}"] if licence != NOT_STATED else []
    library = "peft" if story.adapter_base else "llama.cpp" if story.gguf else "transformers"
    tags = ["tags:", "- selfboost", *(["- gguf"] if story.gguf else [])]
    return "\n".join(["---", *lines, f"library_name: {library}", *tags, "---"])


def _location(story: Exported) -> str:
    """Where the base model is: the first entry of the run has the whole path of a folder."""
    first = story.run.iterations[0]
    return first.policy if story.base != first.policy and Path(first.policy).is_dir() else story.base


def _results(story: Exported) -> Iterator[str]:
    run = story.run
    headings, rows = table_cells(run)
    cells = [[" ".join(filter(None, [_cell(cell.text), _cell(cell.below)])) for cell in row] for row in rows]
    yield _cell(headline(run))
    if run.status != "finished":
        yield f"The run {_cell(broke_off(run) or f'was {run.status}')} when this was written."
    yield _table(headings, cells)
    prompts = f"{run.seeds[2]:,} held-out prompts" if len(run.seeds) == 3 else "the held-out prompts"
    yield f"On {prompts}; brackets are 95 % intervals over prompts. One run with one seed: results vary with the seed."
    if judges := self_judging(story.model.root, story.pairs):
        yield (
            f"**Self-judged:** {', '.join(map(_code, judges))} chose pairs for training and rated these results too, "
            "so a model that has learned to please it looks better here than it is."
        )


def self_judging(root: Path, counts: PairCounts) -> list[str]:
    """Scorers that chose pairs and rated held-out answers as well."""
    rated = set[str]()
    for card in store.cards(root):
        if card.verb == "score" and card.rows and "/held_out" in card.name:
            rated.add(store.stored_rows(root, card, Verdict)[0].scorer)
    return sorted(rated & set(counts.scorers))


def _data(story: Exported) -> Iterator[str]:
    run, card = story.run, story.model.card
    seed: Mapping[str, Any] = run.recipe.get("seed", {})
    counts = dict(zip(("training", "validation", "held-out"), run.seeds, strict=False))
    split = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    path = str(seed.get("path", "?"))
    yield f"Seed data: {_code(path)} ({split} examples), random seed {_seed(run)}.{_hash_of(Path(path))}"
    if card is not None:
        given = next((name for name in ("pairs", "examples") if name in card.parts), "")
        yield (
            f"This model was trained in the stage {_code(card.name)} on {card.rows:,} {given}, SHA-256 of their "
            f"records `{card.parts.get(given, '?')}`; the stage's fingerprint is `{card.fingerprint}`."
        )
    yield from _pair_tables(story.pairs)
    if story.pairs.total and not story.adapter_base and not story.gguf:
        yield f"The pairs are in [{FOLDER}/]({FOLDER}/README.md)."


def _hash_of(seed: Path) -> str:
    """The hash of a seed that is a file, as it is now, in a sentence."""
    if not seed.is_file():
        return ""
    with open_to_read(seed) as file:
        return f" SHA-256 of the file when this was written: `{hashlib.file_digest(file, 'sha256').hexdigest()}`."


def _pair_tables(counts: PairCounts) -> Iterator[str]:
    if not counts.total:
        yield "No preference pairs were made."
        return
    yield _table(("iteration", "pairs"), [(str(i), f"{n:,}") for i, n in sorted(counts.by_iteration.items())])
    yield "Where their prompts come from (`seed`: given; others were generated in the stage of that name):"
    yield _table(("prompts", "pairs"), [(_code(source), f"{n:,}") for source, n in counts.by_source.most_common()])
    if counts.scorers:
        yield f"Scored by {', '.join(_code(scorer) for scorer in counts.scorers)}."


def _environments(run: RunSummary) -> Iterator[str]:
    for found in run.environments:
        yield _table(("", ""), [(name, _cell(value)) for name, value in described(found).items()])
    if not run.environments:
        yield "Not recorded."


def _seed(run: RunSummary) -> str:
    return str(run.recipe.get("run", {}).get("seed", 0))


def _licence(found: str) -> str:
    return found if found == NOT_STATED else f"`{found}`, as its card or configuration states it"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _short(value: Any) -> str:
    text = toml_value(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text):,} characters)"


def _cell(text: str) -> str:
    """Text that means nothing to Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(visible(text).split()))


def _code(text: str) -> str:
    """Text as code, in a line and in a cell of a table."""
    line = " ".join(visible(text).split()).replace("`", "'").replace("|", "\\|")
    return f"`{line or ' '}`"
