"""Seeds and prompts that results are reported on: how many share words before a run begins."""

from __future__ import annotations

from selfboost.data.hub_data import is_hub_name
from selfboost.data.seed_data import SeedData
from selfboost.data.seeds import question_texts, read_prompts
from selfboost.prompts.novelty import Novelty, NoveltyRule
from selfboost.recipe import Recipe
from selfboost.setting_types import parts_of


def shared_words(recipe: Recipe, data: SeedData) -> list[str]:
    """A note on training seeds that share a run of words with measured prompts, and one on their shared wrapper.

    By the method's own rule for new prompts, else by its default.
    """
    if is_hub_name(recipe.seed.path):
        return []
    rules = [rule for _, rule in parts_of(recipe.method, NoveltyRule)]
    rule = rules[0] if rules else NoveltyRule()
    if not rule.shared_words:
        return []
    measured = {
        text: "kept-away" for source in rule.keep_away if not is_hub_name(source) for text in read_prompts(source)
    }
    measured |= dict.fromkeys(question_texts(data.validation), "validation")
    measured |= dict.fromkeys(question_texts(data.held_out), "held_out")
    found, notes = Novelty(rule, (), measured), list[str]()
    if near := sum(bool(found.nearness(text)) for text in question_texts(data.train)):
        notes.append(
            f"{near:,} of {len(data.train):,} seeds share {rule.shared_words} words in a row with measured or "
            "kept-away prompts: the model is trained on them all the same, so take them out of the seed if results "
            "should not gain from it"
        )
    if found.wrapper:
        shown = " ".join(found.wrapper)
        notes.append(f'measured prompts share the words "{shown}": taken for a wrapper, which new prompts may repeat')
    return notes
