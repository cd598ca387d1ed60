"""The word-level tokenizer of the demo model, in the files that `AutoTokenizer` loads."""

from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from selfboost.demo import templates, vocabulary

# Without a generation prompt a chat ends after its last `<end>`; there is no text before the first `<user>`, so no bos.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<' + message['role'] + '> ' + message['content'] + (' <end> ' if not loop.last else ' <end>') }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ ' <assistant>' }}{% endif %}"
)


def all_words() -> list[str]:
    """Every word, special ones first, each once."""
    words = [*vocabulary.SPECIAL_WORDS, *vocabulary.QUESTION_TAGS, *vocabulary.SOLUTION_TAGS, *vocabulary.MARKS]
    words += [*vocabulary.CATEGORIES, *vocabulary.NOUNS, *vocabulary.CAPITAL_OF.values(), *vocabulary.NAMES]
    words += [*vocabulary.COLORS, *vocabulary.NUMBERS, *vocabulary.AMOUNTS, *vocabulary.ORDINALS, *vocabulary.ENDINGS]
    words += [*vocabulary.JOINERS, *vocabulary.SPOTS, *" ".join(vocabulary.LINKS).split()]
    words += [*vocabulary.TASK_WORDS, *vocabulary.STOP_WORDS]
    for template in (templates.GENERATOR_TEMPLATE, templates.REWRITE_TEMPLATE):
        words += [word for word in template.split() if not word.startswith("{")]
    return list(dict.fromkeys(words))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Words separated by spaces, one token each; text of known words survives encode and decode unchanged."""
    model = WordLevel({word: index for index, word in enumerate(all_words())}, unk_token=vocabulary.UNKNOWN)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in vocabulary.SPECIAL_WORDS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=vocabulary.PAD,
        unk_token=vocabulary.UNKNOWN,
        eos_token=vocabulary.END,
        additional_special_tokens=[vocabulary.USER, vocabulary.ASSISTANT],
        clean_up_tokenization_spaces=False,
        model_max_length=256,
        chat_template=CHAT_TEMPLATE,
    )
