"""Answers for the tests of scorers."""

from selfboost.engines.fake import FakeTokenizer
from selfboost.records import Answer, Origin, user_prompt


def answer(text: str, prompt: str = "say it", index: int = 0) -> Answer:
    asked = user_prompt(prompt, Origin(source="seed"))
    ids = FakeTokenizer()
    return Answer(
        prompt=asked,
        text=text,
        prompt_ids=ids.prompt_ids(asked.messages),
        token_ids=ids.answer_ids(text),
        finish="stop",
        index=index,
    )
