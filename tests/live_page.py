"""The live page served from a thread, and read by the standard library alone."""

import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from selfboost.commands.arguments import check_folder
from selfboost.live.serving import listen, make_server
from selfboost.live.watcher import Watcher


@dataclass(frozen=True, kw_only=True)
class Live:
    """A page that is served."""

    port: int
    watcher: Watcher

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def request(self, path: str, method: str = "GET", **headers: str) -> tuple[int, Mapping[str, str], str]:
        """Status, headers and body of a reply."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, headers=headers)
        reply = connection.getresponse()
        body = reply.read().decode()
        connection.close()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, body

    def ask(self, name: str, **asked: object) -> Any:
        """What the page would be told."""
        status, _, body = self.request(f"/api/{name}?{urlencode(asked)}")
        assert status == 200, body
        return json.loads(body)

    def events(self) -> Iterator[Any]:
        """The events as they come."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", "/api/events")
        reply = connection.getresponse()
        assert reply.getheader("content-type", "").startswith("text/event-stream")
        try:
            for line in reply:
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))
        finally:
            connection.close()


@contextmanager
def served(*folders: Path, gold: Mapping[str, str] | None = None) -> Iterator[Live]:
    """The page of these folders, once all that is there has been read."""
    with listen(0) as listening, Watcher(folders, check_folder, period=0.02) as watcher:
        server = make_server(watcher, gold or {})
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        assert watcher.filled.wait(60)
        try:
            yield Live(port=listening.getsockname()[1], watcher=watcher)
        finally:
            server.should_exit = True
            thread.join()


def until(events: Iterator[Any], run: str, rows: int) -> Sequence[Any]:
    """The events up to the one that says that a run has so many rows."""
    seen = []
    end = time.monotonic() + 20
    for event in events:
        seen.append(event)
        if event[run]["rows"] == rows:
            return seen
        assert time.monotonic() < end, seen
    raise AssertionError(f"the stream ended: {seen}")
