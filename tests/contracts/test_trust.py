"""What SECURITY.md says is not trusted is not: pickles, code of checkpoints, templates."""

import ast
from dataclasses import fields
from pathlib import Path

import pytest

from selfboost import plugins
from selfboost.engines.chat import open_tokenizer
from selfboost.records import Message
from selfboost.templates import check_template

SOURCE = Path(plugins.__file__).parent
COMPONENTS = [(role, kind) for role in plugins.FOLDERS for kind in plugins.kinds(role)]


def calls(name: str) -> list[tuple[Path, set[str]]]:
    """(file, keyword arguments) of each call of a function or method, by its written name."""
    found: list[tuple[Path, set[str]]] = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(name):
                words = {f"{word.arg}={ast.unparse(word.value)}" for word in node.keywords if word.arg}
                found.append((path, words))
    return found


def test_nothing_is_unpickled_and_no_text_is_executed() -> None:
    loads = calls("torch.load")
    assert loads
    assert all("weights_only=True" in words for _, words in loads)
    unpickled = [*calls("pickle.load"), *calls("pickle.loads"), *calls("np.load")]
    # Through pipes to processes that this one started, which nobody else can write to.
    assert {path.name for path, _ in unpickled} == {"other_process.py", "processes.py"}
    assert not [path for name in ("eval", "exec", "compile") for path, _ in named(name)]


def named(name: str) -> list[tuple[Path, ast.Call]]:
    """Calls of a bare name: `eval(...)`, not `model.eval()`."""
    return [
        (path, node)
        for path in sorted(SOURCE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


def test_every_model_is_loaded_from_safetensors() -> None:
    models = [(path, words) for path, words in calls(".from_pretrained") if "output_loading_info=True" in words]
    assert len(models) >= 3
    assert all("use_safetensors=True" in words for _, words in models)


def test_code_of_a_checkpoint_is_off_unless_a_recipe_turns_it_on() -> None:
    settings = [
        f for role, kind in COMPONENTS for f in fields(plugins.load(role, kind)) if f.name == "trust_remote_code"
    ]
    assert len(settings) >= 2
    assert all(setting.default is False for setting in settings)


@pytest.mark.parametrize(
    "template", ["{{ messages.__class__.__mro__[1].__subclasses__() }}", "{{ cycler.__init__.__globals__ }}"]
)
def test_a_chat_template_reaches_no_python_object(template: str, tmp_path: Path) -> None:
    file = tmp_path / "template.jinja"
    file.write_text(template)
    with pytest.raises(ValueError, match="the chat template cannot render a conversation"):
        open_tokenizer(str(SOURCE / "demo" / "assets" / "model"), str(file)).prompt_ids(
            [Message(role="user", content="x")]
        )


def test_a_template_of_a_prompt_names_its_fields_and_nothing_inside_them() -> None:
    check_template("template", "Say {keywords}.", {"keywords"})
    with pytest.raises(ValueError, match="it must have exactly"):
        check_template("template", "Say {keywords.__class__}.", {"keywords"})
