"""What Python callers do before a run: write a recipe, check it, try it, write the file by which a cluster runs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from selfboost import launch as launching
from selfboost import recipe as recipes
from selfboost.data.columns import RECOGNISE, columns_from
from selfboost.face import Address, chosen_recipe
from selfboost.new_recipe import NewRecipe, RecipeRequest, write_new_recipe
from selfboost.pace.probe import pace_or_why_not
from selfboost.plan import Plan, plan
from selfboost.plan.placement import fleet_for
from selfboost.recipe import Recipe
from selfboost.stages import Listener, Silent
from selfboost.trial import Trial
from selfboost.trial import try_recipe as try_it


def init(
    folder: Address,
    *,
    model: str,
    seed: str,
    method: str = "synpo",
    columns: str = "",
    judge: str = "",
    full: bool = False,
    trust: str | Sequence[str] = (),
) -> NewRecipe:
    """Write `folder/recipe.toml`, which fits your model, your seed and this machine.

    `columns`: which columns of the seed hold what, as `prompt=question,response=answer`; empty: they are recognised.

    Raises:
        ValueError: the model, the seed, its columns or the method cannot be used, or a recipe exists.
    """
    named = columns_from(columns) if columns else RECOGNISE
    wanted = RecipeRequest(model=model, seed=seed, method=method, columns=named, judge=judge)
    return write_new_recipe(Path(folder), wanted, trust, full=full)


def check(
    recipe: Recipe | Address,
    *,
    settings: Sequence[str] = (),
    trust: str | Sequence[str] = (),
    gpus: int = 0,
    gpu_kind: str = "",
    probe: bool = True,
) -> Plan:
    """Check a recipe without running it, and return its plan: stages, costs, memory, warnings.

    Priced on `gpus` GPUs of a kind if either is given; else on this machine, whose speed `probe` measures.

    Raises:
        ValueError: the recipe is wrong; in one sentence.
    """
    chosen = chosen_recipe(recipe, settings, trust)
    elsewhere = bool(gpus or gpu_kind)
    return plan(chosen, fleet_for(chosen, gpu_kind, gpus), pace_or_why_not if probe and not elsewhere else None)


def try_recipe(
    recipe: Recipe | Address,
    into: Address | None = None,
    *,
    prompts: int = 10,
    settings: Sequence[str] = (),
    trust: str | Sequence[str] = (),
    listener: Listener | None = None,
) -> Trial:
    """Try one iteration of a recipe on a few prompts, and return every stage with its answers and faults.

    Kept in the new folder `into`, or nowhere. What would stop a run is the trial's `error`.

    Raises:
        ValueError: the folder is not empty, or the model, the seed or the method cannot be used at all.
    """
    heard = listener or Silent()
    chosen = chosen_recipe(recipe, settings, trust, heard.say)
    with TemporaryDirectory(prefix="selfboost-try-") as folder:
        return try_it(chosen, Path(into or folder), heard, prompts)


def write_launch(
    kind: Literal["slurm", "k8s", "ray"],
    recipe: Address,
    into: Address,
    *,
    settings: Sequence[str] = (),
    trust: Sequence[str] = (),
    name: str = "",
    nodes: int = 1,
    gpus: int = 8,
    hours: int = 24,
    image: str = "selfboost:latest",
    claim: str = "selfboost",
    ray: bool = False,
    to: Address | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the file by which a cluster runs a recipe in the folder `into`, and return its path; submit nothing.

    Raises:
        ValueError: the recipe is wrong, a name or a path cannot be used, or the file exists.
    """
    chosen_recipe(recipe, settings, trust)  # what a cluster would refuse is refused here
    wanted = launching.Launch(
        kind=kind,
        recipe=str(recipe),
        file=recipes.find(str(recipe)),
        into=Path(into),
        name=name,
        nodes=nodes,
        gpus=gpus,
        hours=hours,
        image=image,
        claim=claim,
        ray=ray,
        settings=settings,
        trust=trust,
    )
    return launching.write_launch(wanted, Path(to) if to else None, overwrite=overwrite)
