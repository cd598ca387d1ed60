"""What a coroutine hands over, as a plain iterator: it runs in a thread with an event loop of its own.

So it may be used from any thread, also from one in which an event loop runs.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, TypeVar

from selfboost.endpoints.failures import CannotGoOn

Item = TypeVar("Item")


def handed_over(
    work: Callable[[Callable[[Item], None]], Coroutine[Any, Any, None]], name: str
) -> Generator[Item, None, None]:
    """Yield what `work` passes to its argument; closing the generator cancels it.

    Raises:
        ValueError: it raised CannotGoOn. Other errors are raised as they are.
    """
    arrived: queue.SimpleQueue[tuple[Item] | BaseException | None] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(work(lambda item: arrived.put((item,))))

    def run() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # the other thread raises it
            arrived.put(error)
        finally:
            loop.close()
            arrived.put(None)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        while (found := arrived.get()) is not None:
            if isinstance(found, CannotGoOn):
                raise ValueError(str(found))
            if isinstance(found, BaseException):
                raise found
            yield found[0]
    finally:
        with suppress(RuntimeError):  # the loop is closed: all is done
            loop.call_soon_threadsafe(task.cancel)
        thread.join()
