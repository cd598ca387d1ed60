"""How many tokens the models of a scorer read, so that an answer that is too long gets a reason instead of a score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from selfboost.data.hub_data import is_hub_name
from selfboost.records import Answer, Model
from selfboost.scorers.verdicts import fault
from selfboost.train import Sequenced


def context(path: str) -> int | None:
    """Most tokens that a model reads, by its configuration; None where it has no limit or is no checkpoint here."""
    if not (Path(path).expanduser() / "config.json").is_file() and not _is_cached(path):
        return None
    from selfboost.engines.checkpoint import resolve
    from selfboost.engines.context import context_of
    from selfboost.engines.inspection import read_config

    config = read_config(path, resolve(path, weights=False), own_code=True)
    return None if config is None else context_of(config)


def _is_cached(path: str) -> bool:
    if not is_hub_name(path) or ":" in path:
        return False
    import huggingface_hub

    return isinstance(huggingface_hub.try_to_load_from_cache(path, "config.json"), str)


def too_long(row: Sequenced, longest: int | None, reader: str) -> str:
    """Why a model cannot read a row; empty if it can."""
    tokens = len(row.prompt_ids) + len(row.token_ids)
    return f"{tokens} tokens, the {reader} reads {longest}" if longest and tokens > longest else ""


def same_ids(answers: Sequence[Answer], models: Iterable[Model]) -> tuple[list[Sequenced], list[str]]:
    """(rows that all models read, with the ids that answers were sampled under; for each answer, why it is none)."""
    readers = {model.name: context(model.path) for model in models}
    rows: list[Sequenced] = []
    reasons: list[str] = []
    for answer in answers:
        row = Sequenced(prompt_ids=answer.prompt_ids, token_ids=answer.token_ids)
        long = (why for name, longest in readers.items() if (why := too_long(row, longest, f"model {name}")))
        reasons.append(fault(answer) or next(long, ""))
        rows += [] if reasons[-1] else [row]
    return rows, reasons
