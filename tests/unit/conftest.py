"""What several test files begin with."""

import pytest

from selfboost.records import Model


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A tiny Llama that trainings start from; a test file that needs another has a fixture of its own."""
    from engine_models import save_llama
    from train_records import model

    folder = tmp_path_factory.mktemp("start")
    save_llama(folder)
    return model(folder)
