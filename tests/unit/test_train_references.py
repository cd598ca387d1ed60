"""The reference's log-probabilities are computed once for a model and a pair, whatever happens in between."""

import json

import pytest
from train_records import pairs

from selfboost.train.packs.rows import pair_items
from selfboost.train.steps import references
from selfboost.train.steps.references import ReferenceCache


class Computed:
    """Counts what is asked of it; a value that depends on the item alone."""

    def __init__(self):
        self.asked = []

    def __call__(self, items):
        self.asked += [item.id for item in items]
        return [(-float(sum(item.rows[0].token_ids)) / 7, -float(sum(item.rows[1].token_ids)) / 7) for item in items]


@pytest.fixture
def items():
    return pair_items(pairs(), 1000)


def test_nothing_is_computed_twice(tmp_path, items):
    first, again = Computed(), Computed()
    cache = ReferenceCache.of(tmp_path / "cache", "model", "float32")
    assert cache.complete(items[:4], first) == ReferenceCache(None).complete(items[:4], Computed())
    assert cache.complete(items, again) == ReferenceCache(None).complete(items, Computed())
    assert first.asked == [item.id for item in items[:4]]
    assert again.asked == [item.id for item in items[4:]]


def test_another_model_or_number_type_is_another_cache(tmp_path, items):
    for fingerprint, numerics in [("a", "float32"), ("b", "float32"), ("a", "bfloat16")]:
        computed = Computed()
        ReferenceCache.of(tmp_path, fingerprint, numerics).complete(items, computed)
        assert len(computed.asked) == len(items)
    assert len(list(tmp_path.iterdir())) == 3


def test_another_text_under_the_same_name_is_computed(tmp_path, items):
    cache, computed = ReferenceCache.of(tmp_path, "model"), Computed()
    cache.complete(items, Computed())
    renamed = [type(items[0])(items[0].id, items[1].rows)]
    assert cache.complete(renamed, computed) == ReferenceCache(None).complete(renamed, Computed())
    assert computed.asked == []  # known under its own content
    changed = pair_items(pairs(seed=9), 1000)
    assert cache.complete(changed, computed) == ReferenceCache(None).complete(changed, Computed())
    assert len(computed.asked) == len(changed)


def test_a_kill_costs_a_block_at_most(tmp_path, items, monkeypatch):
    monkeypatch.setattr(references, "BLOCK", 2)
    cache = ReferenceCache.of(tmp_path, "model")

    def dies(group):
        if group[0] == items[4]:
            raise KeyboardInterrupt
        return Computed()(group)

    with pytest.raises(KeyboardInterrupt):
        cache.complete(items, dies)
    with cache.file.open("a") as file:
        file.write('not JSON\n{"pair": "cut off')
    computed = Computed()
    assert cache.complete(items, computed) == ReferenceCache(None).complete(items, Computed())
    assert computed.asked == [item.id for item in items[4:]]
    lines = [line for line in cache.file.read_text().splitlines() if line != "not JSON"]
    assert len({json.loads(line)["pair"] for line in lines}) == len(lines) == len(items)
