"""A JSON schema of recipes, for editors that complete and check TOML by one. Made from the dataclasses.

It knows names, types, bounds and which settings have no default. What depends on several settings or on files is left
to `selfboost check`; the settings of a component of one's own are not known, so any are allowed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from dataclasses import Field as Setting
from typing import Any, cast, get_type_hints

from pydantic import TypeAdapter

from selfboost import plugins
from selfboost.recipe import ROLES, Recipe
from selfboost.recipe_text import field_docs

DRAFT = "http://json-schema.org/draft-07/schema#"
OWN_KIND = "[.:]"
"""What the kind of a component of one's own contains."""
Json = dict[str, Any]


def recipe_schema() -> Json:
    """The schema of a recipe."""
    known: Json = {}
    whole = _settings(Recipe, known)
    return {"$schema": DRAFT, "title": "selfboost recipe", **whole, "definitions": known}


def _settings(kind: type, known: Json, first: Mapping[str, Json] | None = None) -> Json:
    """A table with the settings of a dataclass; `known` gathers the definitions that it refers to."""
    docs, hints = field_docs(kind), get_type_hints(kind, include_extras=True)
    own = [f for f in fields(kind) if f.init]
    described = {f.name: _described(_setting(f, hints[f.name], known), docs.get(f.name, "")) for f in own}
    required = [*(first or {}), *(f.name for f in own if _required(f))]
    made: Json = {"type": "object", "properties": {**(first or {}), **described}, "additionalProperties": False}
    return made | ({"required": required} if required else {})


def _required(f: Setting[Any]) -> bool:
    return f.default is MISSING and f.default_factory is MISSING


def _setting(f: Setting[Any], hint: Any, known: Json) -> Json:
    role = ROLES.get(hint)
    if role is not None:
        return _component(role, known)
    if is_dataclass(hint):
        section = _section(cast(type, hint), known)
        needed = [each.name for each in fields(hint) if each.init and _required(each)]
        # A section with a default keeps what a recipe leaves out of it.
        return {"allOf": [section, {"required": needed}]} if needed and f.default_factory is MISSING else section
    return _leaf(hint) | ({} if _required(f) else _default(f.default))


def _section(kind: type, known: Json) -> Json:
    if kind.__name__ not in known:
        known[kind.__name__] = {}  # for a dataclass that contains itself
        known[kind.__name__] = {name: part for name, part in _settings(kind, known).items() if name != "required"}
    return {"$ref": f"#/definitions/{kind.__name__}"}


def _component(role: str, known: Json) -> Json:
    if role not in known:
        known[role] = {}  # a benchmark holds a scorer, and a scorer another one
        shipped = [_kind(role, kind, words, known) for kind, words in plugins.kinds(role).items()]
        own = {"properties": {"kind": {"type": "string", "pattern": OWN_KIND}}, "required": ["kind"]}
        known[role] = {"anyOf": [*shipped, {"type": "object", **own}]}
    return {"$ref": f"#/definitions/{role}"}


def _kind(role: str, kind: str, words: str, known: Json) -> Json:
    return _settings(plugins.load(role, kind), known, {"kind": {"const": kind, "description": words}})


def _leaf(hint: Any) -> Json:
    """A single setting, without bounds that JSON cannot hold."""
    return _finite(TypeAdapter(hint).json_schema())


def _finite(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        table = cast("Mapping[str, Any]", schema)
        return {name: _finite(part) for name, part in table.items() if not _infinite(part)}
    return [_finite(part) for part in cast("list[Any]", schema)] if isinstance(schema, list) else schema


def _infinite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _default(value: Any) -> Json:
    if value is MISSING or value is None or _infinite(value):
        return {}
    return {"default": list(cast("tuple[Any, ...]", value)) if isinstance(value, tuple) else value}


def _described(setting: Json, words: str) -> Json:
    if not words:
        return setting
    return {"allOf": [setting], "description": words} if "$ref" in setting else {**setting, "description": words}
