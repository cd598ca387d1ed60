"""The verbs. A `Run` gives a method exactly five: sample, score, finetune, prefer, measure.

Every call is a named stage of the run's folder: stored, fingerprinted by its inputs and settings, never computed twice.
A name without `/` belongs to the current iteration; `prepare/x` is shared by all. Everything else here is a look-up.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from selfboost import seed_models, store
from selfboost.benchmark import check_rated
from selfboost.blocks.limits import FaultLimits, limits_for
from selfboost.blocks.sampling import AnswerSampler, draw_answers
from selfboost.blocks.scoring import AnswerScorer, score_answers
from selfboost.cluster import Site
from selfboost.data.seed_data import SeedData, load_seed_data
from selfboost.data.seeds import Seed
from selfboost.disk.record_files import hash_records
from selfboost.disk.sequences import Mapped
from selfboost.drift import Measured
from selfboost.endpoints import endpoints_of
from selfboost.endpoints.connection import check_ready
from selfboost.engines import answer_text
from selfboost.engines.run_day import run_day
from selfboost.losses import Loss
from selfboost.notes import Counts, Note, Notebook
from selfboost.pair_history import PairHistory, without_first
from selfboost.recipe import Recipe
from selfboost.recipe_text import known_by
from selfboost.records import Answer, Example, Model, Origin, Pair, Prompt, Rated, Sampling, Verdict
from selfboost.scorers import Noting, Scorer, Workplace, notes_of
from selfboost.stages import WEIGHTS, Listener, Stages
from selfboost.train import Demanding, Training, TrainingResult
from selfboost.verbs import Sides, Window, Work

VERSIONS = {"sample": 1, "score": 1, "finetune": 1, "prefer": 1, "measure": 1}
"""Part of every fingerprint: raise a verb's number when its results change."""
RECENT = 4
"""A model's answers that the agreement check looks at."""


class Run:
    """One run of one recipe in one folder."""

    def __init__(self, recipe: Recipe, root: Path, listener: Listener) -> None:
        self.recipe, self.root, self.listener = recipe, root, listener
        self.cache = root / "cache"
        self.engine, self.trainer = recipe.engine, recipe.trainer
        self.stages = Stages(root, listener)
        path = recipe.model.location
        self.initial = Model(name="initial", path=path, fingerprint=self.engine.fingerprint(path))
        self.previous = self.initial
        self.iteration, self.place = 0, "iteration-0"
        self.notes = Notebook()
        """The method's notes on the current iteration."""
        self.cluster = recipe.cluster.start(self._site())
        """Computes the blocks of stages; started when it is first needed, or entered as a context manager."""
        self.tokenizer = self.engine.tokenizer(self.initial)
        data = self.read_data()
        for endpoint in endpoints_of(recipe):
            check_ready(endpoint)
        self.seeds, self.validation, self.held_out = self._examples(data)
        self._data_notes, self._scorer_notes = list(data.notes), list[str]()
        self._told = set[str]()
        self.tell()
        self._history = PairHistory()
        self._made: dict[str, Model] = {}
        self._recent: dict[str, list[Answer]] = {}
        self.memory: dict[Any, Any] = {}
        """What a method keeps for later iterations; a resumed run, which replays them all, restores it."""
        self.trained_pairs = 0
        """Pairs of the last policy training of this iteration."""
        self.histories: dict[str, list[Mapping[str, float]]] = {}
        """Fingerprint of a model → logged steps of the preference training that made it."""
        self.last_measured = Measured()
        """What the last `measure` sampled and scored."""
        self.scorer_used = False
        """Whether the method has asked the recipe's own scorer."""
        self._measuring = False

    def read_data(self) -> SeedData:
        """The seed, which the method accepts, as does the trainer its settings.

        Raises:
            ValueError: the seed can't be read, or one of them refuses.
        """
        data = load_seed_data(self.recipe.seed, self.recipe.run.seed)
        self.recipe.method.check(self.recipe, data.train)
        if isinstance(self.trainer, Demanding):
            self.trainer.require(self.recipe.training)
        return data

    def begin(self, iteration: int, previous: Model, place: str = "") -> None:
        """Enter an iteration; `previous` is the policy it starts with. Its stages go to `place`."""
        self.iteration, self.previous, self.notes, self.trained_pairs = iteration, previous, Notebook(), 0
        self.place = place or f"iteration-{iteration}"

    @contextmanager
    def inside(self, part: str) -> Generator[None, None, None]:
        """Put the stages of a block into a subfolder of the iteration, so that their names may repeat."""
        before, self.place = self.place, f"{self.place}/{part}"
        try:
            yield
        finally:
            self.place = before

    def say(self, sentence: str) -> None:
        """Pass the listener a message that the user must see."""
        self.listener.say(sentence)

    @property
    def said(self) -> list[str]:
        """Sentences for the user about the models and the seed, of all answers given so far."""
        return [*self.tokenizer.notes, *self._data_notes, *self._scorer_notes]

    def tell(self) -> None:
        """Say what of `said` was not said yet: answers that came later are counted too."""
        for sentence in self.said:
            if sentence not in self._told:
                self._told.add(sentence)
                self.say(sentence)

    def note(self, note: Note) -> None:
        """Record a note on this iteration; the last note of each kind is kept."""
        self.notes.note(note)

    def count(self, kind: type[Counts], counts: Mapping[str, int]) -> None:
        """Add counts by reason to this iteration's note of this kind."""
        self.notes.count(kind, counts)

    # The five verbs.

    def sample(self, name: str, model: Model, prompts: Sequence[Prompt], sampling: Sampling) -> Sequence[Answer]:
        """Sample `sampling.samples` answers to each prompt; answers to the same prompt are adjacent."""
        parts = self._parts("sample", engine=self.engine, model=model.fingerprint, sampling=sampling)
        parts |= {
            "prompts": hash_records(prompts),
            "tokenizer": self.tokenizer.fingerprint,
            "seed": self.recipe.run.seed,
            "stage": self._place(name),
        }
        limits = self._limits(model, sampling)
        with self.stages.open(self._place(name), "sample", parts, len(prompts) * sampling.samples) as stage:
            if stage.card is None:
                salt = f"{self.recipe.run.seed}/{self._place(name)}"
                worker = AnswerSampler(engine=self.engine, model=model, sampling=sampling, salt=salt)
                draw_answers(stage, self._place(name), self.cluster, worker, prompts, limits)
            answers = stage.rows(Answer)
        limits.check(self._place(name), stage.notes, len(answers))
        recent = list(islice((answer for answer in answers if answer.logps), RECENT))
        self._recent[model.fingerprint] = recent or self._recent.get(model.fingerprint, [])
        if self._measuring:
            self.last_measured.answers[name] = answers
        return answers

    def score(
        self, name: str, answers: Sequence[Answer], scorer: Scorer | None = None, **given: Model
    ) -> Sequence[Verdict]:
        """A verdict on each answer, in order; by the recipe's scorer unless another is given.

        `given` maps roles to models that replace those the scorer asks for.
        """
        self.scorer_used |= scorer is None
        scorer = scorer or self.recipe.scorer
        models = {role: given.get(role) or self.model(wanted) for role, wanted in scorer.needs().items()}
        parts = self._parts(
            "score", scorer=scorer, trainer=self.trainer, models={r: m.fingerprint for r, m in models.items()}
        )
        parts |= {"answers": hash_records(answers)}
        parts["scorer"].pop("threshold", None)  # used by the filter: a new threshold needs no new scores
        limits = self._limits()
        with self.stages.open(self._place(name), "score", parts, len(answers)) as stage:
            fresh = stage.card is None
            if fresh:
                self._scorer_notes += [note for note in notes_of(scorer) if note not in self._scorer_notes]
                self.tell()
                worker = AnswerScorer(scorer=scorer, models=models, trainer=self.trainer, engine=self.engine)
                workplace = Workplace(cache=self.cache, say=self.say)
                score_answers(stage, self._place(name), self.cluster, worker, answers, workplace, limits)
            verdicts = stage.rows(Verdict)
        limits.check(self._place(name), stage.notes, len(answers))
        if isinstance(scorer, Noting) and (found := scorer.note_on(answers, verdicts)):
            self.note(found[0])
            if fresh:
                self.say(f"{self._place(name)}: {found[1]}")
        if self._measuring:
            self.last_measured.scores.update({v.answer: v.value for v in verdicts if v.value is not None})
        return verdicts

    def finetune(
        self, name: str, examples: Sequence[Example], training: Training, *, start: Model, model_name: str = ""
    ) -> Model:
        """Supervised fine-tuning of `start` on examples."""
        parts = self._parts("finetune", trainer=self.trainer, start=start.fingerprint, training=training)
        parts["examples"] = hash_records(examples)
        train = partial(self.trainer.finetune, start, examples, training)
        return self._trained(name, "finetune", parts, examples, train, start, model_name or name)

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
        loss, training = loss or self.recipe.loss, training or self.recipe.training
        reference = (reference or start) if loss.needs_reference else None
        parts = self._parts("prefer", trainer=self.trainer, start=start.fingerprint, training=training)
        parts |= {"loss": known_by(loss), "reference": reference.fingerprint if reference else None}
        parts["pairs"] = hash_records(pairs)
        train = partial(self.trainer.prefer, start, reference, pairs, loss, training, cache=self.cache)
        model_name = f"iteration {self.iteration}" if name == "policy" else name
        earlier = self._history.stored_before(self.iteration, pairs)
        made = self._trained(name, "prefer", parts, pairs, train, start, model_name, earlier)
        self.trained_pairs = len(pairs)
        return made

    def measure(self, model: Model, split: Literal["validation", "held_out"]) -> list[Rated]:
        """The benchmark's rating of a model on a split, one record per prompt."""
        examples = self.validation if split == "validation" else self.held_out
        parts = self._parts("measure", benchmark=self.recipe.benchmark, engine=self.engine, model=model.fingerprint)
        parts |= {"examples": hash_records(examples), "seed": self.recipe.run.seed}
        # Its own stages run first and are reused: their content determines this one.
        rated = self.rated(model, examples, split)
        check_rated(self.recipe.benchmark, rated)
        parts["rated"] = hash_records(rated)
        with self.stages.open(self._place(f"measure-{split}"), "measure", parts, len(rated)) as stage:
            if stage.card is None:
                stage.replace_rows(rated)
                stage.finish()
            return list(stage.rows(Rated))

    def compute(self, name: str, model: Model, inputs: Mapping[str, Any], work: Work, *, items: int = 0) -> list[Rated]:
        """A benchmark's ratings by other means than sampled answers, as a stage of its own: a part of `measure`."""
        parts = self._parts("measure", engine=self.engine, model=model.fingerprint) | {"inputs": dict(inputs)}
        with self.stages.open(self._place(name), "measure", parts, items) as stage:
            if stage.card is None:
                rated, notes = work(self.engine, stage.progress)
                stage.total = len(rated)
                stage.replace_rows(rated)
                stage.finish(notes=notes)
            return list(stage.rows(Rated))

    def rated(self, model: Model, examples: Sequence[Example], split: str) -> Sequence[Rated]:
        """The benchmark's rating; what it samples and scores meanwhile is kept in `measured`."""
        self.last_measured, self._measuring = Measured(), True
        try:
            return self.recipe.benchmark.rate(self, model, examples, split)
        finally:
            self._measuring = False

    # Look-ups: nothing is computed here, except that a model made from the seed is trained on first use.

    def model(self, name: str) -> Model:
        """A model by its name: `initial`, `previous`, one made from the seed alone, or a folder or hub name."""
        if name in ("initial", "previous"):
            return self.initial if name == "initial" else self.previous
        if name in seed_models.MAKERS:
            if name not in self._made:
                self._made[name] = seed_models.MAKERS[name](self)
            return self._made[name]
        return Model(name=name, path=name, fingerprint=self.engine.fingerprint(name))

    def given(self, prompt: Prompt, text: str) -> Answer:
        """A person's answer to a prompt, tokenised once."""
        return Answer(
            prompt=prompt,
            text=answer_text(self.tokenizer, text),
            prompt_ids=self.tokenizer.prompt_ids(prompt.messages, prompt.prefix),
            token_ids=self.tokenizer.answer_ids(text),
        )

    def example(self, prompt: Prompt, answer: Answer) -> Example:
        """A prompt and the answer that a model is trained to give to it."""
        return Example(
            prompt=prompt, prompt_ids=self.tokenizer.prompt_ids(prompt.messages, prompt.prefix), answer=answer
        )

    def pair(
        self, prompt: Prompt, chosen: Answer, rejected: Answer, verdicts: tuple[Verdict, Verdict] | None = None
    ) -> Pair:
        """A preference between two answers to this prompt, whatever prompt each was written for."""
        return self._pair(self.iteration, prompt, chosen, rejected, verdicts)

    def pairs(self, sides: Callable[..., Sides], *sources: Sequence[Any]) -> Sequence[Pair]:
        """A pair of what `sides` makes of the items in each place of the sources, made whenever it is asked for."""
        iteration = self.iteration
        return Mapped(lambda *items: self._pair(iteration, *sides(*items)), *sources)

    def _pair(
        self,
        iteration: int,
        prompt: Prompt,
        chosen: Answer,
        rejected: Answer,
        verdicts: tuple[Verdict, Verdict] | None = None,
    ) -> Pair:
        # The ids that an answer to this very prompt was drawn under are those it is trained under.
        carried = (side.prompt_ids for side in (rejected, chosen) if side.prompt.asks_the_same(prompt))
        ids = next(carried, None) or self.tokenizer.prompt_ids(prompt.messages, prompt.prefix)
        return Pair(
            iteration=iteration,
            prompt=prompt,
            prompt_ids=ids,
            chosen=chosen,
            rejected=rejected,
            chosen_score=verdicts[0].value if verdicts else None,
            rejected_score=verdicts[1].value if verdicts else None,
            scorer=verdicts[0].scorer if verdicts else "",
        )

    def windowed(self, pairs: Sequence[Pair], window: Window) -> Sequence[Pair]:
        """This iteration's pairs, and those of earlier iterations within the window."""
        return self._history.windowed(self.iteration, pairs, window)

    def recent(self, model: Model) -> list[Answer]:
        """A few of the model's most recent answers, for the agreement check."""
        return self._recent.get(model.fingerprint, [])

    def _site(self) -> Site:
        """What the cluster's workers need to know."""
        scorers = (self.recipe.scorer, getattr(self.recipe.benchmark, "scorer", None))
        needed = {path for scorer in scorers if scorer for path in scorer.needs().values() if Path(path).is_dir()}
        return Site(
            root=self.root,
            models=tuple(sorted({self.initial.path, *needed})),
            engine=self.engine,
            threads=self.recipe.run.threads,
            day=run_day(),
        )

    def _limits(self, model: Model | None = None, sampling: Sampling | None = None) -> FaultLimits:
        return limits_for(self.recipe, self.place, sampling, spared=self._measuring or model == self.initial)

    def _place(self, name: str) -> str:
        return name if "/" in name else f"{self.place}/{name}"

    def _examples(self, data: SeedData) -> tuple[list[Example], list[Example], list[Example]]:
        def examples(seeds: Sequence[Seed], source: str) -> list[Example]:
            prompts = [Prompt(messages=seed.messages, origin=Origin(source=source)) for seed in seeds]
            return [self.example(p, self.given(p, s.response)) for p, s in zip(prompts, seeds, strict=True)]

        return (
            examples(data.train, "seed"),
            examples(data.validation, "validation"),
            examples(data.held_out, "held_out"),
        )

    @staticmethod
    def _parts(verb: str, **inputs: object) -> dict[str, Any]:
        """What determines a stage, by the recipe's names; a component counts as its kind and settings."""
        known = {name: known_by(value) if is_dataclass(value) else value for name, value in inputs.items()}
        return {"version": VERSIONS[verb], **known}

    def _trained(
        self,
        name: str,
        verb: str,
        parts: dict[str, Any],
        records: Sequence[object],
        train: Callable[..., TrainingResult],
        start: Model,
        model_name: str,
        earlier: tuple[store.Earlier, ...] = (),
    ) -> Model:
        """A training stage: its training rows, but those of `earlier` stages, are stored beside the resulting model."""
        own = without_first(records, len(earlier))
        seed = self.recipe.run.seed
        with self.stages.open(self._place(name), verb, parts | {"seed": seed}, len(records)) as stage:
            if stage.card is None:
                if not records:
                    why = self.notes.nothing_left or "the method made none; look at the stages before it"
                    things = "pairs" if verb == "prefer" else "examples"
                    raise ValueError(f"{self._place(name)}: there are no {things} to train on: {why}")
                stage.replace_rows(own)
                into = stage.result_folder()
                released = self.cluster.release(self.engine)
                result = train(into=into, seed=seed, progress=stage.progress)
                self.tokenizer.save(into)  # with the chat template that the run uses
                notes = result.notes | ({"released": dict(released)} if released else {})
                stage.finish(tokens=result.tokens, notes=notes, result=WEIGHTS, earlier=earlier)
            self._history.remember(self.iteration, stage, own)
            for sentence in stage.warnings:
                self.listener.say(f"{self._place(name)}: {sentence}")
            made = stage.model(model_name, start)
            if verb == "prefer":
                self.histories[made.fingerprint] = stage.card.history if stage.card else []
            return made
