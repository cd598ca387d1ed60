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
    assert said_time("stage  verb  hours\nsampling  3M  0.2\nall   0.4  0.9 \n") == "0.4 0.9"
    assert said_time("The recipe is valid.") == ""


def test_only_an_interval_above_zero_counts() -> None:
    rows = [Found(pair="", outcome=outcome) for outcome in ("better", "unclear", "kept", "refused", "failed")]
    assert verdict(rows).startswith("1 of 5 better")
