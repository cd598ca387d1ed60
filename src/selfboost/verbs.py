"""What a method may do with a run: the five verbs, the facts of the iteration, and how records are made.

`Verbs` is the whole interface: methods and benchmarks see nothing else of `run.Run`. A name without `/` belongs to the
current iteration; `prepare/x` is shared by all iterations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from selfboost.engines import Engine, Progress
from selfboost.losses import Loss
from selfboost.measures import Declared
from selfboost.notes import Counts, Note
from selfboost.records import Answer, Example, Model, Pair, Prompt, Rated, Sampling, Verdict
from selfboost.scorers import Scorer
from selfboost.settings import Gate, RunSettings, SeedModels
from selfboost.train import Training

Window = Literal["last", "last_two", "all"]
"""Pairs of this iteration, of this and the one before, or of all so far."""


Work = Callable[[Engine, Progress], tuple[Sequence[Rated], Mapping[str, Any]]]
"""Rates with an engine, reporting progress: the ratings, and notes for their stage."""


class Sides(NamedTuple):
    """What makes a pair, as `Verbs.pair` takes it."""

    prompt: Prompt
    chosen: Answer
    rejected: Answer
    verdicts: tuple[Verdict, Verdict] | None = None


class Settings(Protocol):
    """What a method sees of its recipe."""

    @property
    def run(self) -> RunSettings: ...
    @property
    def loss(self) -> Loss: ...
    @property
    def training(self) -> Training: ...
    @property
    def scorer(self) -> Scorer: ...
    @property
    def gate(self) -> Gate: ...
    @property
    def seed_models(self) -> SeedModels: ...
    @property
    def measures(self) -> Declared:
        """What the benchmark measures, by name."""
        ...


class Verbs(Protocol):
    """A run, as methods and benchmarks see it."""

    # The five verbs. Each call is a named stage: stored, and never computed twice.

    def sample(self, name: str, model: Model, prompts: Sequence[Prompt], sampling: Sampling) -> Sequence[Answer]:
        """Sample `sampling.samples` answers to each prompt; answers to the same prompt are adjacent."""
        ...

    def score(
        self, name: str, answers: Sequence[Answer], scorer: Scorer | None = None, **given: Model
    ) -> Sequence[Verdict]:
        """A verdict on each answer, by the recipe's scorer unless another is given.

        `given` maps roles to models that replace those the scorer asks for.
        """
        ...

    def finetune(
        self, name: str, examples: Sequence[Example], training: Training, *, start: Model, model_name: str = ""
    ) -> Model:
        """Supervised fine-tuning of `start` on examples."""
        ...

    def prefer(
        self,
        name: str,
        pairs: Sequence[Pair],
        *,
        start: Model,
        reference: Model | None = None,
        loss: Loss | None = None,
        training: Training | None = None,
    ) -> Model:
        """Preference optimisation of `start` on pairs, with the recipe's loss and training unless others are given."""
        ...

    def measure(self, model: Model, split: Literal["validation", "held_out"]) -> list[Rated]:
        """The benchmark's rating of a model on a split, one record per prompt."""
        ...

    def compute(self, name: str, model: Model, inputs: Mapping[str, Any], work: Work, *, items: int = 0) -> list[Rated]:
        """A benchmark's ratings by other means than sampled answers, such as log-probabilities, as a stage of its own.

        `inputs` is everything that determines them beside model and engine, as plain JSON data; `items` says how many
        ratings to expect, 0 if that is unknown.
        """
        ...

    # The facts.

    @property
    def recipe(self) -> Settings: ...
    @property
    def iteration(self) -> int:
        """Counted from 1; 0 is the initial model's measurement."""
        ...

    @property
    def initial(self) -> Model: ...
    @property
    def previous(self) -> Model:
        """The policy that this iteration starts from."""
        ...

    @property
    def seeds(self) -> Sequence[Example]:
        """The seed: prompts with gold answers."""
        ...

    @property
    def validation(self) -> Sequence[Example]: ...
    @property
    def held_out(self) -> Sequence[Example]: ...
    @property
    def cache(self) -> Path:
        """A folder for data that can be recomputed."""
        ...

    @property
    def memory(self) -> dict[Any, Any]:
        """What a method keeps for later iterations; a resumed run, which replays them all, restores it."""
        ...

    def model(self, name: str) -> Model:
        """A model by its name: `initial`, `previous`, one made from the seed alone, or a folder or hub name."""
        ...

    # How records are made.

    def given(self, prompt: Prompt, text: str) -> Answer:
        """A person's answer to a prompt, tokenised once."""
        ...

    def example(self, prompt: Prompt, answer: Answer) -> Example:
        """A prompt and the answer that a model is trained to give to it."""
        ...

    def pair(
        self, prompt: Prompt, chosen: Answer, rejected: Answer, verdicts: tuple[Verdict, Verdict] | None = None
    ) -> Pair:
        """A preference between two answers to this prompt, whatever prompt each was written for."""
        ...

    def pairs(self, sides: Callable[..., Sides], *sources: Sequence[Any]) -> Sequence[Pair]:
        """A pair of what `sides` makes of the items in each place of the sources, made whenever it is asked for."""
        ...

    def windowed(self, pairs: Sequence[Pair], window: Window) -> Sequence[Pair]:
        """This iteration's pairs, and those of earlier iterations within the window."""
        ...

    # Notes, messages, and where stages go.

    def note(self, note: Note) -> None:
        """Record a note on this iteration; the last note of each kind is kept."""
        ...

    def count(self, kind: type[Counts], counts: Mapping[str, int]) -> None:
        """Add counts by reason to this iteration's note of this kind."""
        ...

    def say(self, sentence: str) -> None:
        """Show the user a message immediately."""
        ...

    def inside(self, part: str) -> AbstractContextManager[None]:
        """Put the stages of a block into a subfolder of the iteration, so that their names may repeat."""
        ...
