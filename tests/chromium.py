"""A headless Chromium that a test drives through a pipe: no driver, no port. It is found on PATH or not at all."""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next((found for name in NAMES if (found := shutil.which(name))), "")
FLAGS = ("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars", "no-first-run", "remote-debugging-pipe")


class Chromium:
    """One page of a browser whose profile lies in a folder of the test's."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, 0

    def __enter__(self) -> Self:
        commands, self._write = os.pipe()
        self._read, replies = os.pipe()

        def descriptors() -> None:
            os.dup2(commands, 10)
            os.dup2(replies, 11)
            os.dup2(10, 3)
            os.dup2(11, 4)

        call = [PROGRAM, *(f"--{flag}" for flag in FLAGS), f"--user-data-dir={self._folder / 'profile'}", "about:blank"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(call, pass_fds=(3, 4), preexec_fn=descriptors, **quiet)
        os.close(commands)
        os.close(replies)
        self._rest = b""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def send(self, method: str, **given: Any) -> dict[str, Any]:
        """A command's result."""
        self._number += 1
        session = {"sessionId": self._session} if hasattr(self, "_session") else {}
        message = {"id": self._number, "method": method, "params": given, **session}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._reply()
            if reply.get("id") == self._number:
                assert "error" not in reply, reply
                return reply["result"]

    def open(self, url: str) -> None:
        """Go to a page."""
        self.send("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, script: str, seconds: float = 15.0) -> Any:
        """The value of an expression once it is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.evaluate(script):
                return value
            time.sleep(0.05)
        raise AssertionError(f"{script}: not within {seconds} s; {self.evaluate('document.body.innerText')[:2000]}")

    def press(self, *keys: str) -> None:
        """Press keys, one after another."""
        for key in keys:
            text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
            for kind in ("keyDown", "keyUp"):
                self.send("Input.dispatchKeyEvent", type=kind, key=key, **(text if kind == "keyDown" else {}))

    def look(self, width: int, height: int, *, dark: bool = False) -> None:
        """Set the window's size in pixels and the scheme of colours."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def shoot(self, path: Path) -> None:
        """Save what is in the window as a PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def _reply(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._read, 1 << 16)
            assert more, "the browser has ended"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\0")
        reply = json.loads(line)
        if reply.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(reply["params"]["exceptionDetails"]))
        if reply.get("method") == "Log.entryAdded" and reply["params"]["entry"]["level"] == "error":
            self.errors.append(str(reply["params"]["entry"]))
        return reply
