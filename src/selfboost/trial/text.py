"""What `selfboost try` prints: stages with their faults, samples, and a verdict in one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from selfboost.trial import CONTEXT, CUT, FAILED, NO_SCORE, NUMBER, Trial, TriedStage
from selfboost.trial.samples import TrialSample, samples, short
from selfboost.views.sentences import duration
from selfboost.views.streams import console
from selfboost.views.visible import visible

LONGEST = 300
"""Characters of a text that a sample shows."""
MOST = 6
"""Faults that the verdict lists."""
LOUD = 0.2
"""Share of a stage's answers with a fault, or of candidates kept, from which or below which the verdict warns."""


def show_trial(trial: Trial, name: str, command: str, again: str) -> bool:
    """Print it all, and return whether there are concerns.

    `name`: the recipe's; `command`: what comes next if it works; `again`: another trial.
    """
    out = console()
    scale = trial.scale
    said = f"{name}: one iteration on {scale.prompts} prompts and {scale.seeds} of {scale.all_seeds:,} seeds, "
    out.print(visible(f"{said}{duration(trial.seconds)}. Trainings were short: look for faults, not for quality."))
    out.print(_table(trial))
    for line in _counted(trial):
        out.print(visible(line))
    for number, sample in enumerate(samples(trial), 1):
        _show(out, sample, number)
    out.print()
    warnings = list(concerns(trial))
    out.print(Text(visible(verdict(trial, warnings)), style="bold red" if trial.error else "bold"))
    for warning in warnings:
        out.print(visible(f"- {warning}"))
    out.print(f"\nNext:\n  {visible(again if trial.error else command)}", soft_wrap=True)
    return bool(warnings)


def verdict(trial: Trial, warnings: Sequence[str]) -> str:
    """Whether the recipe works, in one sentence."""
    if trial.error:
        return "A run of this recipe would most likely stop here."
    kept = _kept(trial)
    works = f"Every stage works{kept}"
    return f"{works}, but:" if warnings else f"{works}."


def _kept(trial: Trial) -> str:
    made = len(trial.seen.candidates)
    return f"; {len(trial.seen.trained)} of {made} candidate pairs were trained on" if made else ""


def concerns(trial: Trial) -> Iterator[str]:
    """What to look at before a run, with the setting that decides it: one sentence for stages with the same fault."""
    if trial.without_new:
        why = trial.without_new.partition(" (")[0]
        yield f"no new prompt gave a pair ({why}), so the later stages answered the seed's prompts; a run trains longer"
    found = list(_loud(trial))
    yield from found[:MOST]
    if len(found) > MOST:
        yield f"{len(found) - MOST} more, in the table above"
    made, kept = len(trial.seen.candidates), len(trial.seen.trained)
    if made and kept < LOUD * made and not trial.error:
        yield f"only {kept} of {made} candidate pairs were kept: see the counts above"


def _loud(trial: Trial) -> Iterator[str]:
    """Faults of many of a stage's answers, each once with all of its stages."""
    alike: dict[tuple[str, str], tuple[str, list[str]]] = {}
    for stage in [*trial.stages, *trial.measuring]:
        rows = len(stage.answers) or len(stage.verdicts)
        name = "measuring" if stage in trial.measuring else short(stage.card.name)
        for fault, count in stage.faults.items():
            if count >= LOUD * rows and not fault.startswith(f"{NO_SCORE}the answer failed"):
                cure = _cure(fault, trial.seen.settings.get(stage.card.name, ""))
                _, where = alike.setdefault((NUMBER.sub("#", fault), cure), (fault, []))
                where += [] if name in where else [name if name == "measuring" else f"{name} {count} of {rows}"]
    for (_, cure), (fault, where) in alike.items():
        yield f"{fault}: {', '.join(where)}{cure}"


def _cure(fault: str, setting: str) -> str:
    """What to change where answers are cut or do not fit, `setting` being that of their sampling."""
    name = f"{setting}.max_tokens" if setting else "max_tokens of its sampling"
    if fault.startswith(CUT):
        return f"; lower {name}: they do not end" if fault.endswith(CONTEXT) else f"; raise {name} if they need more"
    if fault.startswith(FAILED) and "context" in fault:
        return "; lower max_tokens of the answers that these requests quote, or shorten the template"
    return ""


def _table(trial: Trial) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("stage", overflow="fold")
    table.add_column("rows", justify="right")
    table.add_column("seconds", justify="right")
    table.add_column("faults", overflow="fold")
    for stage in trial.stages:
        card = stage.card
        found = _faults(stage)
        cells = visible(short(card.name)), f"{card.rows}", f"{card.seconds:.1f}"
        table.add_row(*cells, Text(visible(found), style="yellow" if stage.faults else "dim"))
    if trial.measuring:
        seconds = sum(stage.card.seconds for stage in trial.measuring)
        measured = sum(stage.card.rows for stage in trial.measuring if stage.card.verb == "measure")
        found = _told(sum((stage.faults for stage in trial.measuring), Counter[str]()))
        cells = "measuring both models", f"{measured}", f"{seconds:.1f}"
        table.add_row(*cells, Text(visible(found), style="yellow"))
    return table


def _faults(stage: TriedStage) -> str:
    """The faults of a stage; of a training its steps, and how its loss moved."""
    if stage.card.verb in ("finetune", "prefer"):
        losses = [row["loss"] for row in stage.card.history if "loss" in row]
        moved = f", loss {losses[0]:.3g} to {losses[-1]:.3g}" if len(losses) > 1 else ""
        cut = stage.card.notes.get("truncated")
        cuts = f", {cut} cut to max_length" if cut else ""
        steps = stage.card.notes.get("steps", 0)
        return f"{steps} step{'' if steps == 1 else 's'}{moved}{cuts}"
    return _told(stage.faults)


def _told(faults: Counter[str]) -> str:
    return ", ".join(f"{count} {fault}" for fault, count in faults.most_common())


def _counted(trial: Trial) -> Iterator[str]:
    """The method's counts by reason."""
    for name, counts in trial.seen.counts.items():
        yield f"{name}: {', '.join(f'{count} {reason}' for reason, count in counts.items())}"


def _show(out: Console, sample: TrialSample, number: int) -> None:
    """A sample as a table of two columns."""
    out.print()
    out.print(Text(f"Sample {number}", style="bold"))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", max_width=32, overflow="fold")
    table.add_column(overflow="fold")
    for line in sample.lines():
        text = Text(_clipped(line.text))
        if line.fault:
            text.append(visible(f"  [{line.fault}]"), style="yellow")
        table.add_row(visible(line.name), text)
    out.print(table)


def _clipped(text: str) -> str:
    """A text on few lines, its blank space made single."""
    flat = visible(" ".join(text.split()))
    return f"{flat[:LONGEST]} …" if len(flat) > LONGEST else flat
