"""The settings reference: Markdown pages with every setting of a recipe, made from what the reader of recipes goes by:
the dataclasses, the types of their fields, and the docstring line under each field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from dataclasses import Field as Setting
from inspect import getdoc
from typing import Any, get_type_hints

from selfboost import plugins
from selfboost.recipe import ROLES, Recipe
from selfboost.recipe_text import field_docs, kind_of, toml_value
from selfboost.records import LONGEST_STOP, SAMPLING_LIMITS, Sampling
from selfboost.setting_types import allowed

TITLES: Mapping[str, str] = {
    "method": "Methods",
    "loss": "Losses",
    "scorer": "Scorers",
    "benchmark": "Benchmarks",
    "engine": "Engines",
    "trainer": "Trainers",
    "cluster": "Clusters",
}
LONGEST_DEFAULT = 100
"""A text longer than this stands on lines of its own."""
SPEED = "Changes no result, only speed, memory or what is shown."
INTRODUCTION = """# Settings

A recipe is a TOML file. Each section below is a table of it; a section with kinds is a component, chosen by `kind`.
`selfboost run RECIPE --set section.setting=value` changes one setting for one run, and `selfboost list --schema` prints
a schema by which an editor completes and checks recipes.

A setting that says so changes only speed, memory or what is shown. All others can change results: stages that depend on
one are computed again when it changes.
"""


@dataclass
class Tables:
    """The nested tables that pages refer to, in the order of their first mention."""

    found: dict[str, type] = field(default_factory=dict)

    def link(self, kind: type) -> str:
        """A link to a table's description."""
        assert self.found.setdefault(kind.__name__, kind) is kind
        return f"[{kind.__name__}](#settings-{kind.__name__.lower()})"


def pages() -> dict[str, str]:
    """Name → text; the first is the page that leads to the others."""
    tables = Tables()
    made = {"index": _index(), "sections": _sections(tables)}
    made |= {role: _kinds(role, tables) for role in TITLES}
    return made | {"tables": _tables(tables)}


def _index() -> str:
    rows: list[str] = []
    for f in fields(Recipe):
        hint = get_type_hints(Recipe)[f.name]
        role = ROLES.get(hint)
        link = f"{role}.md" if role else f"#section-{f.name}"
        kinds = ", ".join(f"[{kind}](#{role}-{kind})" for kind in plugins.kinds(role)) if role else ""
        words = _words(field_docs(Recipe).get(f.name) or _purpose(hint))
        rows.append(f"- [`[{f.name}]`]({link}): {words}{f' Kinds: {kinds}.' if kinds else ''}")
    tree = ["```{toctree}", ":hidden:", "", "sections", *TITLES, "tables", "```"]
    return "\n".join([INTRODUCTION, *rows, "", *tree]) + "\n"


def _sections(tables: Tables) -> str:
    parts = ["# Sections without kinds", "The sections of every recipe that are the same for all components."]
    for f in fields(Recipe):
        hint = get_type_hints(Recipe)[f.name]
        if hint not in ROLES:
            words = field_docs(Recipe).get(f.name) or _purpose(hint)
            parts += [f"(section-{f.name})=\n## [{f.name}]", _words(words), *_settings(hint, f.name, tables)]
    return "\n\n".join(parts) + "\n"


def _kinds(role: str, tables: Tables) -> str:
    parts = [
        f"# {TITLES[role]}",
        f"Components chosen by `kind` in `[{role}]`, and in every other setting that takes one.",
    ]
    for kind in plugins.kinds(role):
        cls = plugins.load(role, kind)
        speed = "speed" if role == "cluster" else ""
        settings = list(_settings(cls, f"{role}.{kind}", tables, speed)) or ["It has no settings."]
        parts += [f"({role}-{kind})=\n## {kind}", _words(_purpose(cls)), *settings]
    return "\n\n".join(parts) + "\n"


def _tables(tables: Tables) -> str:
    parts = ["# Tables within sections", "Settings that are tables of their own, written as `{name = value}`."]
    done: set[str] = set()
    while todo := [name for name in tables.found if name not in done]:  # a table may mention another
        for name in todo:
            cls = tables.found[name]
            parts += [f"(settings-{name.lower()})=\n## {name}", _words(_purpose(cls)), *_settings(cls, name, tables)]
        done.update(todo)
    return "\n\n".join(parts) + "\n"


def _settings(cls: type, place: str, tables: Tables, speed: str = "") -> Iterator[str]:
    hints, docs = get_type_hints(cls, include_extras=True), field_docs(cls)
    for f in fields(cls):
        if f.init:
            facts = [_allowed(cls, f.name, hints[f.name], tables), *_default(f)]
            only = f" {SPEED}" if speed or f.metadata.get("speed_only") else ""
            words = docs.get(f.name) or _purpose(hints[f.name])
            block = _block(f)
            yield f":::{{setting}} {place}.{f.name}\n{_words(words)}\n\n*{'; '.join(facts)}.*{only}{block}\n:::"


def _allowed(cls: type, name: str, hint: Any, tables: Tables) -> str:
    """What a setting may be, beginning with a capital."""
    if hint in ROLES:
        role = ROLES[hint]
        words = f"one of the [{TITLES[role].lower()}]({role}.md): a table with its `kind`"
    elif is_dataclass(hint):
        words = f"a table: {tables.link(hint)}"
    elif cls is Sampling:  # a noun, which checks its numbers itself
        words = _words(_sampling(name, hint))
    else:
        words = _words(re.sub(r"'([^']*)'", r'`"\1"`', allowed(hint)))
    return words[0].upper() + words[1:]


def _sampling(name: str, hint: Any) -> str:
    if name not in SAMPLING_LIMITS:
        return f"a list; each item must be text of 1 to {LONGEST_STOP:,} characters"
    least, most = SAMPLING_LIMITS[name]
    return f"{'0, or ' if name == 'temperature' else ''}{allowed(hint)} from {least:,} to {most:,}"


def _default(f: Setting[Any]) -> list[str]:
    """The default as a fact; nothing where it stands below."""
    if f.default is MISSING and f.default_factory is MISSING:
        return ["required"]
    value = f.default if f.default_factory is MISSING else f.default_factory()
    if value is None:
        return ["by default not set"]
    text = _changed(value) if is_dataclass(value) else toml_value(value)
    if _block(f):
        return ["default below"]
    return [f"default {_code(text)}"] if text else []


def _block(f: Setting[Any]) -> str:
    """A long text, on lines of its own."""
    long = isinstance(f.default, str) and len(f.default) > LONGEST_DEFAULT
    return f"\n\n```text\n{f.default}\n```" if long else ""


def _changed(value: Any) -> str:
    """A table's default: what differs from the defaults of its kind."""
    if type(value) in ROLES or plugins.is_shipped(type(value)):
        return f'{{kind = "{kind_of(value)}"}}'
    plain = {f.name: f.default for f in fields(value)}
    leaves = {name: getattr(value, name) for name in plain if not is_dataclass(getattr(value, name))}
    parts = [f"{name} = {toml_value(leaf)}" for name, leaf in leaves.items() if leaf != plain[name]]
    return f"{{{', '.join(parts)}}}" if parts else ""


def _purpose(cls: Any) -> str:
    """The first paragraph of a class's docstring."""
    return " ".join((getdoc(cls) or "").partition("\n\n")[0].split())


def _words(text: str) -> str:
    """Prose as Markdown: what stands between backticks is code, and no other sign has a meaning."""
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([\\*_<>\[\]|$~])", r"\\\1", p) for p in pieces)


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"
