"""The live page on many rows: first paint (target: 1 s), searches in the browser and in the server (target: 0.3 s).

python -m benchmarks.live --rows 100000 [--runs 3]   (needs the extra `live`, and Chromium on PATH)
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import string
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from selfboost.disk.record_files import to_line
from selfboost.live.serving import listen, make_server
from selfboost.live.watcher import Watcher
from selfboost.records import Answer, Origin, user_prompt

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from chromium import PROGRAM, Chromium

WORDS = 20_000
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
TYPED = """(() => {
  const box = document.getElementById("query"), start = performance.now();
  box.value = QUERY;
  box.dispatchEvent(new Event("input"));
  const title = () => document.querySelector("main h1").textContent;
  const shown = () => title().includes(QUERY) && document.querySelector("main mark");
  window.found = new Promise((done) => {
    const look = () => shown() ? done(performance.now() - start) : requestAnimationFrame(look);
    look();
  });
})()"""
READY = "document.querySelector('#panel h1') && performance.now()"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What was measured, in milliseconds."""

    name: str
    milliseconds: list[float]

    def __str__(self) -> str:
        worst = f"worst {max(self.milliseconds):,.0f} ms" if len(self.milliseconds) > 1 else ""
        return f"{self.name:<58} {statistics.median(self.milliseconds):8,.0f} ms   {worst}"


def write_run(root: Path, rows: int) -> None:
    """A running run with one stage of answers: words by Zipf's law, about 20 in a prompt and 60 in an answer."""
    folder = root / "stages/iteration-1/answers.partial-01234567"
    folder.mkdir(parents=True)
    (root / "run.json").write_text(json.dumps({"status": "running", "iterations": []}))
    with (folder / "records.jsonl").open("wb") as file:
        file.writelines(answers(rows))


def answers(rows: int) -> Iterator[bytes]:
    """Answers as lines."""
    draw = random.Random(0)
    names, weights = vocabulary(), [1 / rank for rank in range(1, WORDS + 1)]
    for row in range(rows):
        drawn = draw.choices(names, weights, k=80)
        prompt = user_prompt(" ".join(drawn[:20]), Origin(source="prompts", iteration=1))
        tokens = tuple(range(60))
        logps = tuple(-0.5 for _ in tokens)
        yield to_line(
            Answer(
                prompt=prompt,
                text=" ".join(drawn[20:]),
                prompt_ids=tuple(range(20)),
                token_ids=tokens,
                logps=logps,
                finish="stop",
                model="m",
                model_name="initial",
                seed=row,
            )
        )


def vocabulary() -> list[str]:
    """Words of random letters, the most frequent first."""
    draw = random.Random(1)
    return ["".join(draw.choices(string.ascii_lowercase, k=draw.randint(2, 9))) for _ in range(WORDS)]


def queries() -> list[str]:
    """From words of nearly every row to one of none; a letter is the beginning of many words."""
    a, b, c, *rest = vocabulary()
    return [a, f"{a} {b}", rest[1000], f"{a} {b} {c}", f'"{b} {a}"', "nowhere", a[0], f"{a[0]} {b[0]}", a[:2]]


def timed(do: Callable[[], object]) -> float:
    """Milliseconds."""
    start = time.perf_counter()
    do()
    return 1000 * (time.perf_counter() - start)


def first_paint(url: str, folder: Path) -> tuple[float, float]:
    """Milliseconds from opening the page to its first paint, and to its first state."""
    with Chromium(folder) as browser:
        browser.open(url)
        ready = float(browser.until(READY, 60))
        return float(browser.until(PAINTED, 60)), ready


def searched(url: str, folder: Path) -> list[float]:
    """Milliseconds from the last key of a search to the rows on the page, 80 of which wait for further keys."""
    found: list[float] = []
    with Chromium(folder) as browser:
        browser.open(f"{url}#tab=search")
        browser.until("document.querySelectorAll('article.row').length", 60)
        for query in queries()[:3]:
            browser.evaluate(TYPED.replace("QUERY", repr(query)))
            found.append(float(browser.evaluate("window.found")))
    return found


def measure(rows: int, runs: int, folder: Path) -> Iterator[Figure]:
    """All figures of a run with so many rows."""
    write_run(folder / "run", rows)
    with listen(0) as listening, Watcher([folder / "run"], lambda _root: None) as watcher:
        server = make_server(watcher, {})
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        start = time.perf_counter()
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        browsers = iter(range(1_000))

        def browse() -> Path:
            (fresh := folder / f"browser-{next(browsers)}").mkdir()
            return fresh

        def ask(query: str) -> bytes:
            asked = urllib.parse.urlencode({"q": query, "run": "run"})
            return urllib.request.urlopen(f"{url}api/rows?{asked}").read()

        time.sleep(0.5)
        if PROGRAM:
            paint, ready = first_paint(url, browse())
            yield Figure(name="first paint, while the rows are read", milliseconds=[paint])
            yield Figure(name="state shown, while the rows are read", milliseconds=[ready])
        busy = [timed(lambda query=query: ask(query)) for query in queries() if not watcher.filled.is_set()]
        if busy:
            yield Figure(name="search in the server, while the rows are read", milliseconds=busy)
        watcher.filled.wait()
        yield Figure(name=f"all {rows:,} rows read", milliseconds=[1000 * (time.perf_counter() - start)])
        if PROGRAM:
            painted = [first_paint(url, browse()) for _ in range(runs)]
            yield Figure(name="first paint", milliseconds=[paint for paint, _ in painted])
            yield Figure(name="state shown", milliseconds=[ready for _, ready in painted])
            yield Figure(name="search in the browser, key to rows", milliseconds=searched(url, browse()))
        for query in queries():
            times = [timed(lambda query=query: ask(query)) for _ in range(runs)]
            yield Figure(name=f"search in the server: {query}", milliseconds=times)
        server.should_exit = True
        thread.join()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for figure in measure(asked.rows, asked.runs, Path(folder)):
            print(figure, flush=True)


if __name__ == "__main__":
    main()
