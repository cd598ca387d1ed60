"""Keywords beside YAKE: agreement with keywords chosen by hand, names and stop-words let through, time and memory.

Run as `python -m benchmarks.keywords --data FOLDER --peer-python PYTHON_WITH_YAKE [--half development] [--texts 1000]`.
FOLDER holds the files that benchmarks/keywords_checked.json names, 25 passages of each checked by one reader. Leaves
out other languages than English, and whether good keywords give good prompts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfboost.data.paragraphs import read_paragraphs
from selfboost.prompts.keywords import KeywordRule, keyword_pool, keywords_of_each, read_pool
from selfboost.prompts.stop_words import STOP_WORDS

CHECKED = Path(__file__).with_name("keywords_checked.json")
DATA = Path(__file__).parents[1] / "data"
MOSTS = (10, 0)
"""Words a passage at most: the best ten, all."""
YAKE = """
import json, sys, time
import yake
texts, tops = json.load(sys.stdin)
found, started = {}, time.perf_counter()
for top in tops:
    extractor = yake.KeywordExtractor(lan="en", n=1, top=top or 10**6)
    found[top] = [[word for word, _ in extractor.extract_keywords(text)] for text in texts]
seconds = time.perf_counter() - started
stop_words = sorted(extractor.stopword_set)
json.dump({"found": found, "seconds": seconds / len(tops) / len(texts), "stop_words": stop_words}, sys.stdout)
"""
ABOUT = """
precision: share of the extracted words that a reader found acceptable; places, firms and other proper names
count as acceptable, names of persons as wrong. Without persons: those left out of the count. Recall: share of
the reader's {keywords} words that were extracted, proper names aside. Persons: how many of the {people} words of
persons' names came through. Stop-words: words of the other side's list of stop-words that came through, per
passage (those of a side's own list never do). YAKE: single words, its defaults otherwise; what follows an
apostrophe cut off, as in ours. Ours takes frequencies from all passages of the two files, YAKE from each passage
alone. {passages} passages, half: {half}; our rules and stop-words were written with the half development in view.
"""


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A passage and what a reader, who had not seen any extractor's words, wrote of it."""

    file: str
    row: int
    text: str
    keywords: frozenset[str]
    people: frozenset[str]
    other_names: frozenset[str]


def checked_passages(data: Path, texts: dict[str, list[str]], half: str) -> list[Passage]:
    """The passages of a half, or of both."""
    passages: list[Passage] = []
    for note in json.loads(CHECKED.read_text(encoding="utf-8")):
        text = texts[note["file"]][note["row"]]
        if hashlib.sha256(text.encode()).hexdigest()[:16] != note["sha256"]:
            raise SystemExit(f"{data / note['file']} row {note['row']}: is not the text that was checked")
        if half in (note["half"], "both"):
            words = {name: frozenset(note[name]) for name in ("keywords", "people", "other_names")}
            passages.append(Passage(file=note["file"], row=note["row"], text=text, **words))
    return passages


def checked_files(data: Path) -> dict[str, list[str]]:
    """The rows of each file that passages were taken from; says where one is absent."""
    names = sorted({note["file"] for note in json.loads(CHECKED.read_text(encoding="utf-8"))})
    for name in names:
        if not (data / name).exists():
            raise SystemExit(f"{data / name}: absent; name the folder that holds {' and '.join(names)} with --data")
    return {name: list(read_paragraphs(data / name)) for name in names}


def ours(passages: Sequence[Passage], texts: dict[str, list[str]], most: int) -> list[list[str]]:
    """Our keywords of each passage, with document frequencies of all texts."""
    together = [text for name in texts for text in texts[name]]
    place = {name: sum(len(texts[other]) for other in list(texts)[:at]) for at, name in enumerate(texts)}
    found = list(keywords_of_each(together, KeywordRule(most=most)))
    return [found[place[passage.file] + passage.row] for passage in passages]


def yakes(python: str, passages: Sequence[Passage]) -> dict[str, Any]:
    """YAKE's, by `most`, its seconds per passage, and its stop-words."""
    given = json.dumps([[passage.text for passage in passages], MOSTS])
    done = subprocess.run([python, "-c", YAKE], input=given, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"YAKE does not run under {python}: name an interpreter that has it with --peer-python")
    answer = json.loads(done.stdout)
    for most, lists in answer["found"].items():
        plain = [[word.lower().replace("\u2019", "'").split("'")[0] for word in words] for words in lists]
        answer["found"][most] = [list(dict.fromkeys(words)) for words in plain]
    return answer


def rates(passages: Sequence[Passage], found: Sequence[Sequence[str]], stop_words: frozenset[str]) -> list[str]:
    """The columns of a row of the table."""
    extracted = good = recalled = people = stops = 0
    for passage, words in zip(passages, found, strict=True):
        got = set(words)
        extracted += len(got)
        good += len(got & (passage.keywords | passage.other_names))
        recalled += len(got & passage.keywords)
        people += len(got & passage.people)
        stops += len(got & stop_words)
    wanted = sum(len(passage.keywords) for passage in passages)
    shares = good / extracted, good / (extracted - people), recalled / wanted
    each = extracted / len(passages), stops / len(passages)
    return [f"{each[0]:.1f}", *(f"{100 * share:.1f} %" for share in shares), str(people), f"{each[1]:.2f}"]


def quality(arguments: argparse.Namespace, texts: dict[str, list[str]]) -> None:
    """Print how far each side agrees with the reader."""
    passages = checked_passages(arguments.data, texts, arguments.half)
    peer = yakes(arguments.peer_python, passages)
    print(f"{'':14} words each  precision  without persons  recall  persons  stop-words")
    for most in MOSTS:
        label = f"best {most}" if most else "all"
        sides = {
            f"ours, {label}": rates(passages, ours(passages, texts, most), frozenset(peer["stop_words"])),
            f"YAKE, {label}": rates(passages, peer["found"][str(most)], STOP_WORDS["en"]),
        }
        for name, columns in sides.items():
            widths = (10, 9, 15, 6, 7, 10)
            print(f"{name:14} " + "  ".join(f"{value:>{width}}" for value, width in zip(columns, widths, strict=True)))
    counts = {name: sum(len(getattr(passage, name)) for passage in passages) for name in ("keywords", "people")}
    print(ABOUT.format(**counts, passages=len(passages), half=arguments.half))
    print(f"YAKE: {1 / peer['seconds']:,.0f} passages a second")


def varied(texts: Sequence[str], count: int) -> Iterator[str]:
    """`count` texts: the given ones over and over, from the second time on with four words changed to new ones."""
    shuffled = random.Random(0)
    for i in range(count):
        text = texts[i % len(texts)]
        if i < len(texts):
            yield text
            continue
        words = text.split(" ")
        for _ in range(4):
            words[shuffled.randrange(len(words))] += "".join(shuffled.choices("aeioustnr", k=3))
        yield " ".join(words)


def build(folder: Path, data: Path, most: int, count: int) -> dict[str, float]:
    """Seconds and MiB of a pool of `count` texts, for a process of its own: the peak is the process's."""
    texts = [text for rows in checked_files(data).values() for text in rows]
    loaded = resident_mib()
    started = time.perf_counter()
    characters = sum(len(text) for text in varied(texts, count))
    making = time.perf_counter() - started
    started = time.perf_counter()
    pool = keyword_pool(varied(texts, count), KeywordRule(most=most))
    building = time.perf_counter() - started - making
    built = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    pool.draw(min(count, 50_000), seed=0)
    drawing = time.perf_counter() - started
    path = folder / f"pool-{most}.txt.gz"
    started = time.perf_counter()
    pool.save(path)
    saving = time.perf_counter() - started
    started = time.perf_counter()
    assert len(read_pool(path).paragraphs) == len(pool.paragraphs)
    reading = time.perf_counter() - started
    return {"characters": characters / count, "loaded": loaded, "built": built, "building": building} | {
        "drawing": drawing, "saving": saving, "reading": reading, "file": path.stat().st_size / 2**20,
    }  # fmt: skip


def resident_mib() -> float:
    """Resident memory of this process now (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def cost(arguments: argparse.Namespace) -> None:
    """Print what building a pool takes."""
    for most in MOSTS:
        with tempfile.TemporaryDirectory() as folder:
            options = ["--data", str(arguments.data), "--build", folder, str(most), "--texts", str(arguments.texts)]
            command = [sys.executable, "-m", "benchmarks.keywords", *options]
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=CHECKED.parents[1])
        found = json.loads(done.stdout)
        print(
            f"ours, {f'best {most}' if most else 'all'}: {arguments.texts:,} paragraphs of "
            f"{found['characters']:.0f} characters in {found['building']:.0f} s on one core "
            f"({arguments.texts / found['building']:,.0f} a second), peak {found['built']:.0f} MiB resident, "
            f"{found['loaded']:.0f} of them before; 50,000 lists drawn in {found['drawing']:.1f} s; "
            f"stored in {found['saving']:.0f} s as {found['file']:.0f} MiB, read in {found['reading']:.0f} s"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the files that the passages are from")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has YAKE (default: this one)")
    parser.add_argument("--half", choices=("report", "development", "both"), default="report", help="which passages")
    parser.add_argument("--texts", type=int, default=1_000_000, help="paragraphs of the pool that is timed; 0 = none")
    parser.add_argument("--build", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        folder, most = arguments.build
        print(json.dumps(build(Path(folder), arguments.data, int(most), arguments.texts)))
        return
    quality(arguments, checked_files(arguments.data))
    if arguments.texts:
        cost(arguments)


if __name__ == "__main__":
    main()
