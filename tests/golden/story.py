"""A finished fake run told in plain text: who answered what, who was chosen over whom, what was trained from where.

No paths, no times, no hashes: the text is the same on every machine, and a change of behaviour is a change of text.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfboost import store
from selfboost.engines.fake import INITIAL, read_fake
from selfboost.records import Answer, Example, Pair, Rated, Verdict, content_hash

MEASURING = re.compile(r"/(validation|held_out)-")
"""The stages inside a measure: the measure itself tells enough."""


class Story:
    """Reads a run's folder; `order` names its stages as they were started."""

    def __init__(self, root: Path, order: Sequence[str], summary: dict[str, Any]) -> None:
        self.root, self.order, self.summary = root, list(order), summary
        self.cards = {card.name: card for card in store.cards(root)}
        self.names = {INITIAL.fingerprint: "initial", "given": "given"}
        for card in self.cards.values():
            if card.verb in ("finetune", "prefer"):
                self.names[content_hash([card.fingerprint, card.known_by])] = card.name

    def rows(self, stage: str, kind: type[Any]) -> list[Any]:
        """The records of a stage."""
        return store.read_rows(self.root, self.cards[stage], kind)

    def who(self, fingerprint: str | None) -> str:
        """The stage that made a model, `initial`, `given` by a person, or nobody."""
        return "none" if fingerprint is None else self.names[fingerprint]

    def start(self, stage: str) -> str:
        """The model a training began from."""
        return self.who(self.cards[stage].parts["start"])

    def reference(self, stage: str) -> str:
        """The model a preference optimisation compares with."""
        return self.who(self.cards[stage].parts["reference"])

    def answered(self, stage: str) -> str:
        """The model that answered in a sampling stage; who its rows name must agree."""
        model = self.who(self.cards[stage].parts["model"])
        assert {self.who(answer.model) for answer in self.rows(stage, Answer)} == {model}
        return model

    def text(self) -> str:
        """The whole story."""
        lines: list[str] = []
        for place in dict.fromkeys(name.partition("/")[0] for name in self.order):
            lines.append(place)
            own = [name for name in self.order if name.startswith(f"{place}/") and not MEASURING.search(name)]
            lines += [line for name in own for line in self._stage(name)]
            lines += [*self._decision(place), ""]
        return "\n".join(lines)

    def _stage(self, name: str) -> list[str]:
        verb = self.cards[name].verb
        told = {
            "sample": self._sample,
            "score": self._score,
            "finetune": self._finetune,
            "prefer": self._prefer,
            "measure": self._measure,
        }[verb](name)
        notes = {k: v for k, v in self.cards[name].notes.items() if k != "history" and v}
        counted = "; " + ", ".join(f"{key}: {value}" for key, value in notes.items()) if notes else ""
        return [f"  {name.partition('/')[2]}: {told[0]}{counted}", *(f"    {line}" for line in told[1:])]

    def _sample(self, name: str) -> list[str]:
        answers = self.rows(name, Answer)
        sampling, first = answers[0].sampling, answers[0]
        sources = _tally(a.prompt.origin.source for a in answers)
        keywords = f" ({', '.join(first.prompt.origin.keywords)})" if first.prompt.origin.keywords else ""
        how = f"temperature {sampling.temperature}, at most {sampling.max_tokens} tokens"
        asked = first.prompt.text.split("### Original")[0].split("Design one question")[0].strip().splitlines()[-1:]
        return [
            f"{self.answered(name)} answers {sources}; {how}",
            f"first: {' '.join(asked)}{keywords} -> {_short(first.text)}",
        ]

    def _score(self, name: str) -> list[str]:
        verdicts = self.rows(name, Verdict)
        known = [v.value for v in verdicts if v.value is not None]
        models = self.cards[name].parts["models"]
        roles = ", ".join(f"{role} {self.who(found)}" for role, found in models.items())
        scorer = f"{verdicts[0].scorer}{f' with {roles}' if roles else ''}"
        return [f"{len(verdicts)} verdicts by {scorer}: mean {sum(known) / len(known):+.3f}"]

    def _finetune(self, name: str) -> list[str]:
        examples = self.rows(name, Example)
        targets = _tally(self.who(e.answer.model) for e in examples)
        requests = _tally(e.prompt.origin.source for e in examples)
        return [
            f"from {self.start(name)} on {len(examples)} examples, {requests} -> {targets}",
            self._made(name),
        ]

    def _prefer(self, name: str) -> list[str]:
        pairs = self.rows(name, Pair)
        last = pairs[-1]
        scores = f", scores {last.chosen_score:+.2f} over {last.rejected_score:+.2f}" if last.gap is not None else ""
        return [
            f"from {self.start(name)}, reference {self.reference(name)}, on {len(pairs)} pairs"
            f" (by iteration {_tally(pair.iteration for pair in pairs)})",
            f"chosen by {_tally(self.who(pair.chosen.model) for pair in pairs)}",
            f"rejected by {_tally(self.who(pair.rejected.model) for pair in pairs)}",
            f"last: {last.prompt.text} -> {_short(last.chosen.text)} OVER {_short(last.rejected.text)}{scores}",
            self._made(name),
        ]

    def _measure(self, name: str) -> list[str]:
        ratings = self.rows(name, Rated)
        means = {
            measure: [value for rated in ratings for value in rated.values[measure] if value is not None]
            for measure in ratings[0].values
        }
        told = ", ".join(f"{measure} {sum(values) / len(values):.3f}" for measure, values in means.items())
        return [f"{self.who(self.cards[name].parts['model'])} on {len(ratings)} prompts: {told}"]

    def _made(self, name: str) -> str:
        model = read_fake(str(self.root / "stages" / name / "model"))
        lineage = "; ".join(re.sub(r", [0-9a-f]{12}\)", ")", sentence) for sentence in model.lineage)
        return f"makes {model.name}, skill {model.skill:.3f}: {lineage}"

    def _decision(self, place: str) -> list[str]:
        found = [i for i in self.summary["iterations"] if place == f"iteration-{i['iteration']}"]
        lines: list[str] = []
        for iteration in found:
            rule = iteration["why"].rpartition("; ")[2]
            lines.append(f"  decision: {iteration['decision']} ({rule}); the policy is now {iteration['policy']}")
            lines += [
                f"    {what.replace('_', ' ')}: {_counts(_flat(told))}" for what, told in iteration["notes"].items()
            ]
        return lines


def _flat(note: dict[str, Any], within: str = "") -> dict[str, Any]:
    """A note's fields and what is in them, named in words."""
    flat: dict[str, Any] = {}
    for key, value in note.items():
        name = " ".join([within, key.replace("_", " ")]).strip()
        flat |= _flat(value, "" if key == "counts" else name) if isinstance(value, dict) else {name: value}
    return flat


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 90 else f"{words[:90]} …"


def _tally(values: Any) -> str:
    return _counts(Counter(values))


def _counts(counts: dict[Any, Any]) -> str:
    known = {key: round(value, 4) if isinstance(value, float) else value for key, value in counts.items()}
    return ", ".join(f"{key}: {value}" for key, value in known.items())
