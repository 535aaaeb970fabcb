import jax.numpy as jnp
import numpy as np
import pytest

from landscape.journal import Journal

LIKE = {"a": jnp.zeros((2, 3)), "b": jnp.zeros(4)}


def tree(value):
    return {"a": jnp.full((2, 3), value), "b": jnp.full(4, -value)}


def numbered(name):
    return tree(float(name.removeprefix("v-")))


@pytest.fixture(autouse=True)
def _keep_every_state(monkeypatch):
    monkeypatch.setattr(Journal, "SHARE", np.inf)


def test_a_state_is_read_as_it_was_saved(tmp_path):
    Journal(tmp_path / "j").save({"step": 3, "values": [0.1, 1e-300]}, ["v-3"], lambda _: tree(1.5))
    again = Journal(tmp_path / "j")
    assert again.load() == {"step": 3, "values": [0.1, 1e-300]}
    found = again.vector("v-3", LIKE)
    np.testing.assert_array_equal(found["a"], tree(1.5)["a"])
    np.testing.assert_array_equal(found["b"], tree(1.5)["b"])


def test_nothing_is_found_before_the_first_save_and_after_discarding(tmp_path):
    journal = Journal(tmp_path / "j")
    assert journal.load() is None
    journal.save({"step": 1})
    journal.discard()
    assert journal.load() is None
    assert Journal().load() is None
    Journal().save({})


def test_vectors_are_written_once_and_dropped_when_no_longer_named(tmp_path):
    journal = Journal(tmp_path)
    journal.save({}, ["v-1", "v-2"], numbered)
    written = (tmp_path / "v-2.npz").stat().st_mtime_ns
    journal.save({}, ["v-2", "v-3"], numbered)
    assert (tmp_path / "v-2.npz").stat().st_mtime_ns == written
    assert sorted(path.name for path in tmp_path.glob("*.npz")) == ["v-2.npz", "v-3.npz"]


def test_a_death_between_two_writes_leaves_the_last_state(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    journal.save({"step": 1}, ["v-1"], numbered)
    write = Journal._write

    def die_at_the_index(self, name, write_to):
        if name == "state.json":
            raise KeyboardInterrupt
        write(self, name, write_to)

    monkeypatch.setattr(Journal, "_write", die_at_the_index)
    with pytest.raises(KeyboardInterrupt):
        journal.save({"step": 2}, ["v-2"], numbered)
    again = Journal(tmp_path)
    assert again.load() == {"step": 1}
    np.testing.assert_array_equal(again.vector("v-1", LIKE)["a"], tree(1.0)["a"])


def test_saving_takes_no_more_than_its_share_of_the_time(tmp_path, monkeypatch):
    monkeypatch.setattr(Journal, "SHARE", 1e-9)
    journal = Journal(tmp_path)
    journal.save({"step": 1})
    journal.save({"step": 2})
    assert journal.load() == {"step": 1}


def test_parts_are_kept_apart(tmp_path):
    journal = Journal(tmp_path)
    journal.part("a").save({"x": 1})
    journal.part("b").save({"x": 2})
    assert (journal.part("a").load(), journal.part("b").load()) == ({"x": 1}, {"x": 2})
