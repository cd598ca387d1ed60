"""Answers a browser: the page and its parts, the state of runs, searches, and an event whenever something has changed.

A request names runs by the names that the watcher gave them; no path is ever made from what a browser sends.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, cast

from selfboost.data.gold import embedded_gold, is_embedded
from selfboost.extras import require
from selfboost.live.answers import AnswersWanted, side_by_side
from selfboost.live.clipping import clipped
from selfboost.live.guard import Guard
from selfboost.live.texts import Wanted
from selfboost.live.watcher import Followed, Watcher
from selfboost.report.figures import STYLE
from selfboost.views.visible import visible

HERE = Path(__file__).parent
FILES = {
    "/": HERE / "page.html",
    "/page.css": HERE / "page.css",
    "/report.css": STYLE,
    **{f"/{name}.js": HERE / f"{name}.js" for name in ("page", "dom", "charts", "overview", "lists")},
}
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
MOST_ROWS = 200
"""Rows of one reply."""
HEARTBEAT = 15.0
"""Seconds after which a silent event stream says that it is still there."""
TICK = 0.25
"""Seconds between two looks of an event stream at what the watcher found."""


class LiveApp:
    """What the page asks for, by path."""

    def __init__(self, watcher: Watcher, gold: Mapping[str, str]) -> None:
        self.watcher, self._gold = watcher, gold
        self._embedded: dict[str, str] = {}

    def runs(self, _asked: Mapping[str, str]) -> Any:
        """All runs, in short."""
        return [self._short(name, followed) for name, followed in self.watcher.runs.items()]

    def run(self, asked: Mapping[str, str]) -> Any:
        """One run in full, but for its records."""
        name, followed = self._followed(asked)
        recipe = {"recipe": followed.run.recipe} if followed.run else {}
        return {**self._short(name, followed), **followed.state, **followed.moving, **recipe}

    def rows(self, asked: Mapping[str, str]) -> Any:
        """Prompts and answers, searched and filtered."""
        name = asked.get("run", "")
        wanted = Wanted(
            runs=(self._followed(asked)[0],) if name else (),
            kind=asked.get("kind", ""),
            stage=asked.get("stage", ""),
            iteration=_number(asked, "iteration") if asked.get("iteration") else None,
            query=asked.get("q", ""),
            by_gap=asked.get("order") == "gap",
            offset=_number(asked, "offset"),
            limit=min(_number(asked, "limit", 50), MOST_ROWS),
        )
        found, total = self.watcher.texts.search(wanted)
        return {"rows": [clipped(row, wanted.query) for row in found], "total": total}

    def row(self, asked: Mapping[str, str]) -> Any:
        """One record with its whole texts.

        Raises:
            LookupError: there is none.
        """
        found = self.watcher.texts.row(_number(asked, "id"))
        if found is None:
            raise LookupError("there is no such row; it may have been replaced")
        return found

    def answers(self, asked: Mapping[str, str]) -> Any:
        """Held-out answers before and after."""
        name, followed = self._followed(asked)
        if followed.run is None:
            return {"rows": [], "total": 0, "counts": {}, "gold": False}
        gold = dict(self._gold)
        if is_embedded(followed.run.recipe):
            self._embedded = self._embedded or embedded_gold()
            gold = {**self._embedded, **gold}
        wanted = AnswersWanted(
            run=name,
            before=_number(asked, "before"),
            after=_number(asked, "after"),
            outcome=asked.get("outcome", ""),
            query=asked.get("q", ""),
            offset=_number(asked, "offset"),
            limit=min(_number(asked, "limit", 20), MOST_ROWS),
        )
        return side_by_side(self.watcher.texts, followed.run, gold, wanted)

    async def events(self) -> AsyncIterator[str]:
        """Server-sent events: which runs have changed, and what is in progress."""
        told, silent = "", 0.0
        while True:
            now = encoded({name: self._pulse(name, each) for name, each in self.watcher.runs.items()})
            if now != told:
                told, silent = now, 0.0
                yield f"event: changed\ndata: {now}\n\n"
            elif silent >= HEARTBEAT:
                silent = 0.0
                yield ": still here\n\n"
            await asyncio.sleep(TICK)
            silent += TICK

    def _pulse(self, name: str, followed: Followed) -> Any:
        return {"version": followed.version, "rows": self.watcher.texts.rows[name], **followed.moving}

    def _short(self, name: str, followed: Followed) -> dict[str, Any]:
        unread = list(followed.unread.values())
        base = {"name": name, "status": "", "headline": "", "verdict": "", "method": ""}
        known = {"problem": followed.problem, "unread": unread, "version": followed.version}
        return {**base, **followed.short, **known, "rows": self.watcher.texts.rows[name]}

    def _followed(self, asked: Mapping[str, str]) -> tuple[str, Followed]:
        name = asked.get("run", "")
        if name not in self.watcher.runs:
            raise LookupError("there is no such run on this page")
        return name, self.watcher.runs[name]


def make_app(watcher: Watcher, gold: Mapping[str, str]) -> Any:
    """The ASGI application.

    Raises:
        ValueError: starlette is not installed.
    """
    live = LiveApp(watcher, gold)
    applications = require("starlette.applications", extra="live", setting="selfboost view", library="starlette")
    routing = require("starlette.routing", extra="live", setting="selfboost view", library="starlette")
    replies = require("starlette.responses", extra="live", setting="selfboost view", library="starlette")

    def asking(answer: Callable[[Mapping[str, str]], Any]) -> Callable[[Any], Any]:
        def reply(request: Any) -> Any:
            try:
                return replies.Response(encoded(answer(request.query_params)), media_type="application/json")
            except (LookupError, ValueError) as error:
                status = 404 if isinstance(error, LookupError) else 400
                return replies.Response(encoded({"error": str(error)}), status, media_type="application/json")

        return reply

    async def events(_request: Any) -> Any:
        return replies.StreamingResponse(live.events(), media_type="text/event-stream")

    def part(file: Path) -> Callable[[Any], Any]:
        text = file.read_text(encoding="utf-8")
        return lambda _request: replies.Response(text, media_type=TYPES[file.suffix])

    asked = {"runs": live.runs, "run": live.run, "rows": live.rows, "row": live.row, "answers": live.answers}
    routes = [routing.Route(path, part(file)) for path, file in FILES.items()]
    routes += [routing.Route(f"/api/{name}", asking(answer)) for name, answer in asked.items()]
    return Guard(applications.Starlette(routes=[*routes, routing.Route("/api/events", events)]))


def encoded(value: Any) -> str:
    """Strict JSON whose texts hold nothing hidden."""
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        items = cast(Mapping[object, Any], value).items()
        return {visible(str(key)): _plain(item) for key, item in items}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast(list[Any], value)]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, int | float | None) else str(value)


def _number(asked: Mapping[str, str], name: str, default: int = 0) -> int:
    text = asked.get(name) or str(default)
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise ValueError(f"{name}: must be a whole number from 0")
    return int(text)
