"""Bad values for every setting of every component, as the TOML text that a command line gives: `--set key=text`."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from fake_recipes import METHODS, write_recipe
from selfboost import plugins, recipe
from selfboost.recipe import ROLES, Recipe

NUMBERS = (
    *("inf", "-inf", "nan", "-nan", "-0.0", "0", "0.0", "-1", "-1.5", "1e-320", "1e-9", "0.5", "1", "2", "3.7"),
    *("1000000000", f"1{'0' * 40}", f"-1{'0' * 40}", f"9{'0' * 5000}", f"0x{'f' * 5000}", "1e308", "-1e308"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "0b1", "1_000", "1e6", "10000"),
)
TEXTS = (
    '""', '" "', '"\\u0000"', '"a\\u0000b"', '"\\ud83d"', '"\\U0001F600"', '"\\u202e\\u200b\\u001b[31m"',
    f'"{"a" * 300}"', f'"{"a/" * 3000}"', f'"{"a" * 200_000}"', '"/dev/zero"', '"."', '"/"', '"~"', '"../.."',
    '"nowhere/at:all"', '"{}"', '"{0}"', '"{prompt:>1000000000}"', '"{prompt!r}"', '"{answer:{prompt}}"',
    '"{prompt.x}"',
    '"{"', '"}"', '"{keywords:>1000000000}"', f'"{"{prompt}" * 100}"', '"(a+)+$"', '"((.*)*)*x"', '"("', '"[z-a]()"',
    '"(?P<x>a)(?P<x>b)"', '"(a{99999999999999999999})"', f'"{"(" * 5000}{")" * 5000}"', '"()"', '"(?:a)"', '"(x)|y"',
    '"os:system"', '"builtins:print"', '"1"', '"true"', '"inf"', '"nan"', '"last"', '"auto"', '"initial"',
)  # fmt: skip
SHAPES = (
    "true", "false", "[]", "{}", "[[]]", "[1]", "[true]", "[nan]", "[inf]", '[""]', '["a"]', '["a", 1]', "{a = 1}",
    "{kind = 1}", "1979-05-27", "1979-05-27T07:32:00Z", "07:32:00", f"[{'1, ' * 2000}]", f"{'[' * 5000}{']' * 5000}",
    "[-0.0]", "[1e308]", "[0.1, 0.1]", "", "=", "'", '"""', "nonsense text", "\udcff", "a\nb = 1",
)  # fmt: skip
VALUES = (*NUMBERS, *TEXTS, *SHAPES)
VARIANTS: dict[str, tuple[str, ...]] = {
    "scorer": ("api_judge", "armorm", "checks", "judge", "likelihood", "pairrm", "reward_model", "reward_server"),
    "loss": ("dpo", "ipo", "noise_preference", "sppo"),
    "engine": ("local", "server", "vllm"),
    "cluster": ("processes", "ray"),
    "trainer": ("local",),
    "benchmark": ("alpaca_eval", "arena_hard", "duel", "harness", "mt_bench"),
}
"""Kinds beside those that the recipes of `fake_recipes` have."""
JUDGE = 'benchmark.judge={endpoint = {url = "http://127.0.0.1:9/v1", model = "some", key_variable = ""}}'
REQUIRED = {
    "alpaca_eval": ("gate.measure=alpaca_eval", JUDGE, "benchmark.prompts=outputs.json"),
    "arena_hard": ("gate.measure=arena_hard", JUDGE, "benchmark.questions=q.jsonl", "benchmark.baseline=a.jsonl"),
    "duel": (
        "gate.measure=duel",
        'benchmark.scorer={kind = "checks", function = "selfboost.engines.fake:is_good"}',
    ),
    "mt_bench": ("gate.measure=mt_bench", JUDGE, "benchmark.questions=q.jsonl"),
    "checks": ("scorer.function=selfboost.engines.fake:is_good",),
    "api_judge": ('scorer.endpoint={url = "http://127.0.0.1:9/v1", model = "some", key_variable = ""}',),
    "reward_server": ('scorer.url="http://127.0.0.1:9/v1"',),
    "server": ('engine.url="http://127.0.0.1:9/v1"',),
    "harness": ("benchmark.preset=leaderboard_v1", "gate.measure=winogrande"),
}
LEAST_SETTINGS = 300


@dataclass(frozen=True)
class Base:
    """A recipe that is right, and the settings that make it another right one."""

    path: Path
    changes: tuple[str, ...] = ()

    def read(self, *more: str) -> Recipe:
        """With further settings."""
        return recipe.read(self.path, [*self.changes, *more])


@dataclass(frozen=True)
class Case:
    """One setting of a recipe with one value."""

    base: Base
    key: str
    value: str
    hint: Any = None

    @property
    def setting(self) -> str:
        """As `--set` takes it."""
        return f"{self.key}={self.value}"

    def read(self) -> Recipe:
        """The recipe with this value."""
        return self.base.read(self.setting)

    def command(self, name: str = "check") -> list[str]:
        """The command line that does the same."""
        changes = [part for change in (*self.base.changes, self.setting) for part in ("--set", change)]
        return [name, str(self.base.path), *changes]


def bases(folder: Path) -> list[Base]:
    """A recipe of every method, and one of every other component."""
    found = [Base(write_recipe(folder / method, method)) for method in METHODS]
    for role, kinds in VARIANTS.items():
        found += [Base(found[0].path, (f"{role}.kind={kind}", *REQUIRED.get(kind, ()))) for kind in kinds]
    return found


def settings_of(part: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, type) of every setting of a recipe as it was read, parts and components included."""
    hints = get_type_hints(type(part), include_extras=True)
    for f in fields(part):
        if f.init:
            value = getattr(part, f.name)
            key = f"{name}{f.name}"
            yield key, hints[f.name]
            if is_dataclass(value):
                if hints[f.name] in ROLES:
                    yield f"{key}.kind", str
                yield from settings_of(value, f"{key}.")


def fitting(hint: Any) -> tuple[str, ...]:
    """Values at and beyond the bounds of a setting's own type."""
    if get_origin(hint) is Annotated:
        kind, *marks = get_args(hint)
        limits = [limit for mark in marks for limit in getattr(mark, "metadata", ())]
        ends = [float(getattr(limit, f.name)) for limit in limits for f in fields(limit) if "length" not in f.name]
        around = [end + step for end in ends for step in (-1, 0, 1)]
        return (*fitting(kind), *(str(int(end)) if end.is_integer() else str(end) for end in around))
    if get_origin(hint) is Literal:
        return tuple(f'"{word}"' for word in get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return tuple(value for part in get_args(hint) for value in fitting(part))
    if get_origin(hint) is tuple:
        return tuple(f"[{value}]" for value in fitting(get_args(hint)[0]))
    return ("true", "false") if hint is bool else ()


def cases(folder: Path, seed: int) -> list[Case]:
    """All cases, in random order; a setting that several recipes share is tried in the first alone."""
    seen: dict[tuple[str, str], tuple[Base, Any]] = {}
    for base in bases(folder):
        whole = base.read()
        for key, hint in settings_of(whole):
            role = key.partition(".")[0]
            seen.setdefault((key, type(getattr(whole, role)).__name__), (base, hint))
    assert len(seen) >= LEAST_SETTINGS
    found = [
        Case(base, key, value, hint) for (key, _), (base, hint) in seen.items() for value in (*VALUES, *fitting(hint))
    ]
    random.Random(seed).shuffle(found)
    return found


def components() -> set[tuple[str, str]]:
    """(role, kind) of everything that is shipped."""
    return {(role, kind) for role in plugins.FOLDERS for kind in plugins.kinds(role)}
