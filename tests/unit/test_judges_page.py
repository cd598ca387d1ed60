"""The page about judges behind servers: its recipe runs as written against the fake server, and resumes for nothing."""

import re
from pathlib import Path

import pytest

from fake_recipes import run, summary
from selfboost import cli
from selfboost.endpoints.fake_server import FakeServer

PAGE = (Path(__file__).parents[2] / "docs" / "judges.md").read_text()


def written(folder: Path) -> Path:
    (found,) = re.findall(r"`judged.toml`:\n\n```toml\n(.*?)```", PAGE, re.DOTALL)
    (folder / "judged.toml").write_text(found)
    return folder / "judged.toml"


def test_the_recipe_runs_and_asks_for_nothing_twice(tmp_path: Path) -> None:
    path = written(tmp_path)
    with FakeServer(lambda request: "A") as server:
        url = f"scorer.endpoint.url={server.url}"
        with pytest.raises(ValueError, match="most_requests = 10: all of them are used"):
            run(path, tmp_path / "run", url, "scorer.endpoint.most_requests=10")
        heard = run(path, tmp_path / "run", url)
        whole = server.answered
        assert run(path, tmp_path / "run", url).reused_stages
        assert server.answered == whole
    assert any("the two orders disagree on 100.0%" in said for said in heard.said)
    labels = summary(tmp_path / "run")["iterations"][2]["notes"]["labels"]
    assert labels["ties"] == labels["gold_chosen"] + labels["generated_chosen"]


def test_check_says_what_it_will_ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["check", str(written(tmp_path))])
    said = " ".join(capsys.readouterr().out.split())
    assert "some-model at http://127.0.0.1:8000/v1 is not contacted here" in said
    assert re.search(r"about \d+ requests to servers", said)
