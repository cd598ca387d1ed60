"""Manual data: preference optimisation on existing pairs (SynPO's baseline, with UltraFeedback there)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Self

from selfboost.data.hub_data import ASSUMED_ROWS, is_hub_name
from selfboost.data.preferences import Preference, read_preferences, write_preferences
from selfboost.data.seeds import Seed
from selfboost.method import Rehearsal
from selfboost.methods.parts.pairing import objection, pick
from selfboost.methods.parts.policy_training import PolicyTraining
from selfboost.notes import Counts, Note
from selfboost.prompts.novelty import NoveltyRule, novelty_of
from selfboost.records import Model, Origin, Pair, Prompt
from selfboost.setting_types import PathOrNone
from selfboost.verbs import Settings, Verbs


@dataclass(frozen=True, kw_only=True)
class ManualPairs(Counts, kept_as="pairs", decided_by="method.data"):
    """What became of the rows."""

    things: ClassVar[str] = "rows"
    cures: ClassVar[Mapping[str, str]] = {
        "wrong rows": "each row of method.data needs prompt, chosen and rejected",
        "shares words": "the data hold measured prompts: lower method.novelty.shared_words to 0 only if that is meant",
    }


@dataclass(frozen=True, kw_only=True)
class ManualNotes(Note, kept_as="data"):
    """Which files, columns and keys of messages were left out, and how often."""

    sentences: str


@dataclass(frozen=True, kw_only=True)
class ManualData(PolicyTraining):
    """Pairs from a file or data set instead of self-made ones, with the recipe's loss, start and evaluation."""

    once: ClassVar[bool] = True
    data: PathOrNone = ""
    """Rows with prompt, chosen and rejected: JSONL, Parquet, a folder of them, or the name of a hub data set."""
    novelty: NoveltyRule = field(default_factory=lambda: NoveltyRule(similarity=1))
    """Which prompts are dropped as too similar; by default those that share words with measured ones."""

    def check(self, recipe: Settings, seeds: Sequence[Seed]) -> None:
        """Check that the data exists and can be read.

        Raises:
            ValueError: no data is named, or it cannot be read.
        """
        super().check(recipe, seeds)
        if not self.data:
            raise ValueError(
                "method.data: is missing; name a file, folder or hub data set with prompt, chosen, rejected"
            )
        if not is_hub_name(self.data):
            _rows_of(self.data, _look(self.data))

    def reads(self, seed: str) -> Mapping[str, str]:
        """The pairs, and the prompts that they must keep away from."""
        del seed
        return {self.data: "pairs"} | dict.fromkeys(self.novelty.keep_away, "keep_away")

    def for_rehearsal(self, rehearsal: Rehearsal) -> Self:
        """As many made-up pairs as the data has; a hub data set is not counted but assumed to have 10,000."""
        rows = ASSUMED_ROWS if is_hub_name(self.data) else _rows_of(self.data, _look(self.data))
        pairs = [
            Preference(messages=seed.messages, chosen=seed.response, rejected=f"not {seed.response}")
            for seed in rehearsal.seeds(rehearsal.few(rows))
        ]
        return replace(self, data=str(write_preferences(rehearsal.folder / "pairs.jsonl", pairs)))

    @property
    def scored(self) -> bool:
        """Never: the data say which answer is chosen."""
        return False

    def iterate(self, run: Verbs) -> Model:
        """At most `pairs` of the pairs, at random, none of them on measured or kept-away prompts."""
        novelty = novelty_of(run, self.novelty)
        counts = Counter[str]()
        pairs: list[Pair] = []
        rows, wrong, notes = read_preferences(self.data)
        for sentence in notes:
            run.say(sentence)
        if notes:
            run.note(ManualNotes(sentences="; ".join(notes)))
        counts["wrong rows"] = wrong
        for row in rows:
            prompt = Prompt(messages=row.messages, origin=Origin(source="manual"))
            chosen, rejected = run.given(prompt, row.chosen), run.given(prompt, row.rejected)
            seen = novelty.objection(prompt.dialogue)
            reason = objection(chosen, rejected) or ("" if seen == "equals a seed prompt" else seen)
            counts[reason or "kept"] += 1
            if not reason:
                pairs.append(run.pair(prompt, chosen, rejected))
        run.count(ManualPairs, counts)
        return self.optimise(run, pick(pairs, self.pairs, run.recipe.run.seed))


def _look(data: str) -> tuple[tuple[str, int, int], ...]:
    """Path, size and time of each file that the data may be read from."""
    source = Path(data).expanduser()
    files = sorted(source.rglob("*")) if source.is_dir() else [source] if source.exists() else []
    looks = [(str(file), file.stat()) for file in files]
    return tuple((name, state.st_size, state.st_mtime_ns) for name, state in looks)


@lru_cache(maxsize=8)
def _rows_of(data: str, look: tuple[tuple[str, int, int], ...]) -> int:
    """How many preferences there are; read once as long as the files do not change, since every rehearsal asks."""
    del look
    return len(read_preferences(data)[0])
