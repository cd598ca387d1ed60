"""Small examples and pairs for the tests of training, on the vocabulary of `engine_models`."""

from random import Random

from selfboost.records import Answer, Example, Model, Origin, Pair, user_prompt

LENGTHS = [(3, 1, 1), (7, 4, 9), (20, 2, 3), (1, 12, 5), (5, 6, 6), (9, 3, 14), (2, 8, 1), (4, 5, 2)]
"""Tokens of prompt, chosen and rejected: one-token completions, prompts longer and shorter than completions."""


def model(path, name="start") -> Model:
    return Model(name=name, path=str(path), fingerprint=name)


def pair(number: int, prompt_ids, chosen_ids, rejected_ids) -> Pair:
    prompt = user_prompt(f"request {number}", Origin(source="seed"))

    def answer(ids, index) -> Answer:
        return Answer(prompt=prompt, text=f"{ids}", prompt_ids=tuple(prompt_ids), token_ids=tuple(ids), index=index)

    sides = {"chosen": answer(chosen_ids, 0), "rejected": answer(rejected_ids, 1)}
    return Pair(iteration=1, prompt=prompt, prompt_ids=tuple(prompt_ids), **sides)


def pairs(lengths=LENGTHS, seed=0) -> list[Pair]:
    generator = Random(seed)

    def ids(count):
        return tuple(generator.randrange(5, 64) for _ in range(count))

    made = [pair(number, *(ids(count) for count in sizes)) for number, sizes in enumerate(lengths)]
    same = ids(4)  # chosen and rejected alike: a margin of exactly nothing
    return [*made, pair(len(lengths), ids(6), same, same)]


def examples(lengths=LENGTHS, seed=0) -> list[Example]:
    return [Example(prompt=p.prompt, prompt_ids=p.prompt_ids, answer=p.chosen) for p in pairs(lengths, seed)]


def silent(done: int, total: int, tokens: int) -> None:
    """A listener that does not care."""
