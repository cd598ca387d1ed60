"""The first hour's benchmark: no run sees the rows that measure it, and refusals and failures are no improvements."""

import json
from pathlib import Path

from benchmarks.first_hour import ASIDE, MODELS, PAIRS, ROWS, SEEDS, Found, rows_of, said_time, verdict, write_rows
from tests.real_data import real

from selfboost.data.seeds import read_seeds
from selfboost.demo import EMBEDDED


def test_rows_set_aside_are_not_in_the_seed(tmp_path: Path) -> None:
    seed, aside = ([json.loads(line) for line in file.open()] for file in write_rows(EMBEDDED, tmp_path))
    assert (len(seed), len(aside)) == (ROWS, ASIDE)
    assert not {row["prompt"] for row in seed} & {row["prompt"] for row in aside}


def test_every_real_seed_is_read_whole(tmp_path: Path) -> None:
    real("seed")
    for seed in SEEDS:
        files = write_rows(seed, tmp_path)
        assert [len(read_seeds(file)[0]) for file in files] == [len(file.open().readlines()) for file in files]


def test_pairs_name_models_and_seeds() -> None:
    parts = [pair.split("/") for pair in PAIRS]
    assert {model for model, _, _ in parts} == MODELS.keys()
    assert {seed for _, seed, _ in parts} == SEEDS.keys() | {EMBEDDED}
    assert next(rows_of(EMBEDDED))["response"]


def test_what_check_says_of_the_time_is_its_summing_row() -> None:
    for said, minutes in (("2 min 30 s", 2.5), ("45 s", 0.75), ("3 h 6 min", 186), ("6.0 s", 0.1)):
        assert said_time(f"stage  times  time  at most\ndrafts  2  9 s  9 s\nall  93  {said}  71 min 12 s\n") == minutes
    assert said_time("all  93  ?  ?") is None
    assert said_time("The recipe is valid.") is None


def test_only_an_interval_above_zero_counts() -> None:
    rows = [Found(pair="", outcome=outcome) for outcome in ("better", "unclear", "kept", "refused", "failed")]
    assert verdict(rows).startswith("1 of 5 better")
