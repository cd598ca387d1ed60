"""The program of another process: computes the blocks that it is sent, until nobody is there to send any.

It is sent its surroundings first, and whether it will open models, then blocks: (number, stage, worker, items); an
empty message closes the stage. It says (None, None) when it is ready and (number, result) for each block. It ends with
the process that started it.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import sys
from contextlib import suppress

from selfboost.cluster.actor import BlockActor


def main() -> None:
    """Compute until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started it decides what Ctrl-C means
    heard = sys.stdin.buffer
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as told:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not stand among results

        def say(number: int | None, result: object) -> None:
            pickle.dump((number, result), told, protocol=pickle.HIGHEST_PROTOCOL)
            told.flush()

        around, opens_models = pickle.load(heard)
        actor = BlockActor(around)
        if opens_models:
            importlib.import_module("selfboost.engines.decoding")
            importlib.import_module("selfboost.train.jobs")
        say(None, None)
        with suppress(EOFError):
            while True:
                if said := pickle.load(heard):
                    number, stage, worker, items = said
                    say(number, actor.work(stage, worker, items))
                else:
                    actor.close()


if __name__ == "__main__":
    main()
