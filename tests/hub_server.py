"""A small hub on this machine: the requests of huggingface_hub that make a repository and commit files to it."""

import base64
import hashlib
import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

KEY = "hf_of_a_test"


@dataclass
class Repository:
    """What was sent to it."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    commits: list[str] = field(default_factory=list[str])


@dataclass
class Hub:
    """Repositories by their kind and name: `models/me/mine`."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict[str, Repository])
    large: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """Hash → content of a large file that was uploaded apart."""
    requests: list[str] = field(default_factory=list[str])


class Handler(BaseHTTPRequestHandler):
    """Answers by path; a wrong key is refused."""

    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        found = self.hub.repositories.get(self.path.removeprefix("/api/").partition("?")[0])
        self._note()
        if found is None:
            self._send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        else:
            self._send(200, {"id": self.path, "private": found.private, "sha": "0" * 40, "siblings": []})

    def do_PUT(self) -> None:
        content = self._body()
        self._note()
        self.hub.large[hashlib.sha256(content).hexdigest()] = content
        self._send(200, {})

    def do_POST(self) -> None:
        body, path = self._body(), self.path.partition("?")[0]
        self._note()
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            self._send(401, {"error": "Invalid username or password."})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('type', 'model')}s/{asked['organization']}/{asked['name']}"
            private = asked.get("private") is True or asked.get("visibility") == "private"
            self.hub.repositories[name] = Repository(private=private)
            self._send(200, {"url": f"{self.hub.url}/{name}"})
        elif path == "/api/validate-yaml":
            self._send(200, {"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            names = [each["path"] for each in json.loads(body)["files"]]
            self._send(200, {"files": [self._mode(name) for name in names]})
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._send(200, {"transfer": "basic", "objects": [*map(self._upload, json.loads(body)["objects"])]})
        else:
            self._commit(path, body)

    def _mode(self, name: str) -> dict[str, Any]:
        mode = "lfs" if name.endswith((".safetensors", ".parquet")) else "regular"
        return {"path": name, "uploadMode": mode, "shouldIgnore": False}

    def _upload(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {**asked, "actions": {"upload": {"href": f"{self.hub.url}/upload/{asked['oid']}"}}}

    def _commit(self, path: str, body: bytes) -> None:
        name = re.fullmatch(r"/api/(.+)/commit/main", path)
        assert name is not None, path
        repository = self.hub.repositories[name[1]]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                repository.commits.append(value["summary"])
            elif line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            else:
                repository.files[value["path"]] = self.hub.large[value["oid"]]
        oid = f"{len(repository.commits):040x}"
        place = name[1].removeprefix("models/")
        self._send(200, {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{place}/commit/{oid}"})

    def _note(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts: list[bytes] = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        given = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
        for name, text in given.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def hub_on_this_machine() -> Generator[Hub]:
    """A hub that runs while the block lasts."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
