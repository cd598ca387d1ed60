"""Exports sent to a hub on this machine: private, whole, in one commit; what would go is what goes."""

from pathlib import Path

import pytest
from small_run import finished_run

from hub_server import KEY, Repository, hub_on_this_machine
from selfboost import cli
from selfboost.export import ExportRequest, export
from selfboost.export.push import PushRequest, files_of, push


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        "huggingface_hub.constants.HF_HUB_DISABLE_XET", True
    )  # large files by LFS, which the hub speaks


def request(**given: object) -> PushRequest:
    return PushRequest(**{"root": finished_run(), "to": "me/mine", **given})


def left_beside(root: Path) -> list[str]:
    return [path.name for path in root.parent.iterdir() if ".push-" in path.name]


@pytest.mark.parametrize(("what", "place"), [("model", "models/me/mine"), ("pairs", "datasets/me/mine")])
def test_what_is_sent_is_the_export_in_one_private_commit(tmp_path: Path, what: str, place: str) -> None:
    with hub_on_this_machine() as hub:
        for _ in range(2):  # the second time the repository is there
            address = push(request(what=what), endpoint=hub.url, token=KEY).commit
        sent = hub.repositories[place]
        assert sent.private
        assert len(sent.commits) == 2
        assert address.startswith(hub.url)
    made = export(ExportRequest(root=finished_run(), to=tmp_path / "made", what=what))
    assert sent.files.keys() - {".gitattributes"} == files_of(made).keys()
    assert all(sent.files[name] == (made / name).read_bytes() for name in files_of(made) if name != "README.md")
    assert any(name.endswith(".parquet") for name in sent.files)
    assert left_beside(finished_run()) == []


def test_a_public_repository_is_asked_for_or_refused() -> None:
    with hub_on_this_machine() as hub:
        hub.repositories["models/me/mine"] = Repository(private=False)
        with pytest.raises(ValueError, match=r"^me/mine: is public; give --public to send there"):
            push(request(), endpoint=hub.url, token=KEY)
        assert not hub.repositories["models/me/mine"].files
        push(request(public=True), endpoint=hub.url, token=KEY)
        push(request(public=True, to="me/new"), endpoint=hub.url, token=KEY)
        assert hub.repositories["models/me/mine"].files
        assert not hub.repositories["models/me/new"].private


def test_a_wrong_key_and_a_hub_that_is_not_there_are_one_sentence() -> None:
    with hub_on_this_machine() as hub, pytest.raises(ValueError, match=r"^me/mine: was not sent \(.*`hf auth login`"):
        push(request(), endpoint=hub.url, token="hf_wrong")
    with pytest.raises(ValueError, match=r"^me/mine: was not sent \("):
        push(request(), endpoint=hub.url, token=KEY)
    assert left_beside(finished_run()) == []


def test_a_dry_run_prints_what_would_go_and_asks_nobody(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub_on_this_machine() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(SystemExit) as end:
            cli.main(["push", str(finished_run()), "--to", "me/mine", "--dry-run"])
        assert end.value.code == 0
        assert hub.requests == []
    said = capsys.readouterr().out
    assert said.startswith("Would go to the private model repository me/mine, as one commit:\n")
    assert "MB  fake.json\n" in said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--to", "mine"], "--to 'mine': must be OWNER/NAME"),
        (["--to", "me/mine", "--adapter", "--pairs"], "--adapter --pairs: give one of them"),
        (["--to", "me/mine", "--iteration", "0"], "is the initial model"),
        (["--to", "me/mine", "--adapter"], "was trained in full"),
    ],
)
def test_what_cannot_be_sent_is_refused(arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["push", str(finished_run()), *arguments, "--dry-run"])
    assert end.value.code == 2
    assert why in capsys.readouterr().err
