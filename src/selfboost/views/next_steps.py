"""How a finished run ends in the terminal: where the model lies, and the commands that come next."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

from rich.text import Text

from selfboost.views.sentences import worse_than_initial
from selfboost.views.streams import console
from selfboost.views.summary import summary
from selfboost.views.visible import visible


def print_next_steps(root: Path) -> None:
    """The commands that come next; a policy that is worse than the initial model is the last word."""
    run, out, folder = summary(root), console(), shlex.quote(str(root))
    steps = {
        f"selfboost show {folder}": "these results again",
        f"selfboost compare {folder} OTHER": "against another run",
    }
    if run.model:
        path = json.dumps(run.model, ensure_ascii=False)
        steps[f"transformers.AutoModelForCausalLM.from_pretrained({path})"] = ""
    out.print("Next:")
    widest = max(len(step) for step, what in steps.items() if what)
    for step, what in steps.items():
        line = Text(f"  {visible(step)}")
        if what:
            line.append(f"{' ' * (widest - len(step))}  {what}", style="dim")
        out.print(line, soft_wrap=True)
    if worse := worse_than_initial(run):
        sys.stdout.flush()
        console(error=True).print(
            visible(f"selfboost: {worse[0].lower()}{worse[1:]}"), style="bold red", soft_wrap=True
        )
