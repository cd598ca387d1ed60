"""Shared by all tests: hypothesis without deadlines (busy machines), with the same examples in every run, and none of
the settings that a user of this machine may have.
"""

import os
from pathlib import Path

from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["SELFBOOST_CONFIG"] = str(Path(__file__).parent / "no-settings")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
settings.register_profile("selfboost", deadline=None, derandomize=True, database=None)
settings.load_profile("selfboost")
