"""Which files of a folder of seeds or pairs are read: one split of several, and never the metadata beside them.

Every file left out that looks like data is named. Leaves out subfolders.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from selfboost.data.arrow_rows import saved_files

SAVED = ("dataset_dict.json", "state.json")
"""Files by which a folder of `datasets`' save_to_disk is known."""
METADATA = (*SAVED, "dataset_info.json", "dataset_infos.json")
ARROW = ".arrow"
OTHER_DATA = (ARROW, ".txt", ".xlsx", ".zip", ".zst", ".xz", ".bz2")
"""Endings of files that may hold data and are not read."""
SPLIT = re.compile(
    r"((?:train|test|validation|valid|val|dev|eval|heldout|held_out)(?:_\w+?)?)(?:-\d+-of-\d+)?", re.IGNORECASE
)
"""The name, without its ending, of a file that holds a split or a part of one."""
MAIN = "train"
NAMED = 8
"""Most files that a sentence names."""


def refuse_saved(folder: Path) -> None:
    """Refuse a folder that `datasets`' save_to_disk wrote, where only text files are read.

    Raises:
        ValueError: it is one.
    """
    if _is_saved(folder):
        raise ValueError(
            f"{folder}: is a folder of datasets' save_to_disk (Arrow files), which is not read; write each split with "
            "to_parquet or to_json instead, and give that file"
        )


def files_to_read(folder: Path, endings: Sequence[str], *, every_split: bool = False) -> tuple[list[Path], list[str]]:
    """The files to read, by name, and sentences on those left out.

    Of several splits only `train` is read, unless all are wanted.

    Raises:
        ValueError: there is no file, or there are several splits and none is `train`.
    """
    if _is_saved(folder):
        return _saved_files(folder, every_split)
    here = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    found = [
        path for path in here if path.is_file() and path.name.endswith(tuple(endings)) and path.name not in METADATA
    ]
    if not found:
        raise ValueError(f"{folder}: contains no seed file; allowed endings: {', '.join(endings)}")
    read = found if every_split else _main_split(folder, found, endings)
    left = [path.name for path in found if path not in read]
    left += [path.name for path in here if path.is_file() and path.name.endswith(OTHER_DATA)]
    left += [f"{path.name}/" for path in here if path.is_dir() and _holds_data(path, endings)]
    return read, [f"left out: {listed(left)}; give a file's own path to read it"] if left else []


def _is_saved(folder: Path) -> bool:
    return any((folder / name).is_file() for name in SAVED)


def _saved_files(folder: Path, every_split: bool) -> tuple[list[Path], list[str]]:
    """As `files_to_read`, of a folder of save_to_disk: one data set, or one in each folder of a split."""
    if (folder / "state.json").is_file():
        return saved_files(folder), []
    splits = sorted(path.parent for path in folder.glob("*/state.json"))
    if not splits:
        raise ValueError(f"{folder}: has the dataset_dict.json of save_to_disk, but no split; save the data set again")
    main = [split for split in splits if split.name == MAIN] if len(splits) > 1 else splits
    if not main and not every_split:
        raise ValueError(
            f"{folder}: holds the splits {', '.join(split.name for split in splits)}; give the folder of one of them"
        )
    read = splits if every_split else main
    left = [f"{split.name}/" for split in splits if split not in read]
    files = [file for split in read for file in saved_files(split)]
    return files, [f"left out: {listed(left)}; give a folder's own path to read it"] if left else []


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, the first of many."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def rows_by_file(counts: Mapping[str, int]) -> list[str]:
    """A sentence on the files that were read, where there are several."""
    told = listed([f"{name} ({count:,} rows)" for name, count in counts.items()])
    return [f"{len(counts)} files read: {told}"] if len(counts) > 1 else []


def _main_split(folder: Path, files: Sequence[Path], endings: Sequence[str]) -> list[Path]:
    """The files of the split `train` where there are several splits; else all."""
    splits = {path: _split_of(path.name, endings) for path in files}
    names = sorted({name for name in splits.values() if name})
    if len(names) < 2:
        return list(files)
    if MAIN not in names:
        held = listed([path.name for path in files])
        raise ValueError(f"{folder}: holds the splits {', '.join(names)} ({held}); give the file of one of them")
    return [path for path, name in splits.items() if name == MAIN]


def _split_of(name: str, endings: Sequence[str]) -> str:
    """The split that a file holds a part of; empty if its name says none."""
    stem = name.removesuffix(next(end for end in sorted(endings, key=len, reverse=True) if name.endswith(end)))
    found = SPLIT.fullmatch(stem)
    return found[1].lower() if found else ""


def _holds_data(folder: Path, endings: Sequence[str]) -> bool:
    return any(path.is_file() and path.name.endswith(tuple(endings)) for path in folder.rglob("*"))
