"""Shared by all tests: hypothesis without deadlines (busy machines), with the same examples in every run."""

import os

from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
settings.register_profile("selfboost", deadline=None, derandomize=True, database=None)
settings.load_profile("selfboost")
