from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.devices import data_mesh, place, replicated
from landscape.errors import RequestError
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


_write = Journal._write


def die_at_the_index(self, name, write_to):
    if name == "state.json":
        raise KeyboardInterrupt
    _write(self, name, write_to)


def test_a_death_between_two_writes_leaves_the_last_state(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    journal.save({"step": 1}, ["v-1"], numbered)
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


def test_a_vector_of_a_state_that_was_not_finished_is_made_anew(tmp_path, monkeypatch):
    """The same name may stand for another value: computed again on other devices, it is rounded
    differently."""
    journal = Journal(tmp_path)
    journal.save({"step": 1}, ["v-1"], numbered)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_write", die_at_the_index)
        with pytest.raises(KeyboardInterrupt):
            journal.save({"step": 2}, ["v-1", "v-2"], numbered)
    again = Journal(tmp_path)
    assert again.load() == {"step": 1}
    again.save({"step": 2}, ["v-1", "v-2"], lambda _: tree(2.5))
    np.testing.assert_array_equal(again.vector("v-1", LIKE)["a"], tree(1.0)["a"])
    np.testing.assert_array_equal(again.vector("v-2", LIKE)["a"], tree(2.5)["a"])


def test_a_state_goes_on_under_the_same_request(tmp_path):
    Journal.of_request(tmp_path / "j", {"seed": 0}).part("a").save({"step": 3})
    assert Journal.of_request(tmp_path / "j", {"seed": 0}).part("a").load() == {"step": 3}


def test_a_state_of_another_request_is_refused_and_the_difference_named(tmp_path):
    request = {"seed": 0, "data": {"hash": "a"}}
    Journal.of_request(tmp_path / "j", request).part("a").save({"step": 3})
    with pytest.raises(RequestError, match=r"made with seed=0, this request has seed=1.*delete it"):
        Journal.of_request(tmp_path / "j", {**request, "seed": 1})
    with pytest.raises(RequestError, match=r'made with data.hash="a"'):
        Journal.of_request(tmp_path / "j", {**request, "data": {"hash": "b"}})
    with pytest.raises(
        RequestError, match=r"another version of landscape \(schema null, now 2\); d"
    ):
        Journal.of_request(tmp_path / "j", {"data": {}, "schema": 2})
    (tmp_path / "j" / "request.json").write_text("torn")
    with pytest.raises(RequestError, match=r"does not say whose it is; delete it"):
        Journal.of_request(tmp_path / "j", request)
    assert Journal(tmp_path / "j" / "a").load() == {"step": 3}


def test_a_folder_without_a_state_is_taken_over(tmp_path):
    journal = Journal.of_request(tmp_path / "j", {"seed": 0})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "_write", die_at_the_index)
        with pytest.raises(KeyboardInterrupt):
            journal.save({}, ["v-1"], numbered)
    other = Journal.of_request(tmp_path / "j", {"seed": 1})
    assert other.load() is None
    other.save({}, ["v-1"], lambda _: tree(7.0))
    np.testing.assert_array_equal(other.vector("v-1", LIKE)["a"], tree(7.0)["a"])


def test_a_state_of_another_precision_is_refused_with_what_to_do(tmp_path):
    Journal.of_request(tmp_path / "j", {"seed": 0}).save({"step": 3}, ["v-1"], numbered)
    with jax.enable_x64(True):
        with pytest.raises(RequestError, match=r"float32, .* float64; set JAX_ENABLE_X64=0"):
            Journal.of_request(tmp_path / "j", {"seed": 0})
        Journal.of_request(tmp_path / "wide", {"seed": 0}).save({"step": 1})
    with pytest.raises(RequestError, match=r"float64, .* float32; set JAX_ENABLE_X64=1"):
        Journal.of_request(tmp_path / "wide", {"seed": 0})


@pytest.mark.parametrize(("before", "after"), [(1, 8), (8, 1), (2, 4)])
def test_a_state_goes_on_on_another_number_of_devices(tmp_path, before, after):
    def placed(devices):
        return place(tree(1.5), replicated(data_mesh(devices)))

    Journal.of_request(tmp_path, {"seed": 0}).save({"step": 3}, ["v-3"], lambda _: placed(before))
    again = Journal.of_request(tmp_path, {"seed": 0})
    assert again.load() == {"step": 3}
    found = again.vector("v-3", placed(after))
    assert len(found["a"].devices()) == after
    np.testing.assert_array_equal(found["a"], tree(1.5)["a"])


def test_parts_are_kept_apart(tmp_path):
    journal = Journal(tmp_path)
    journal.part("a").save({"x": 1})
    journal.part("b").save({"x": 2})
    assert (journal.part("a").load(), journal.part("b").load()) == ({"x": 1}, {"x": 2})


def test_the_room_is_what_is_free_where_it_will_be_kept(tmp_path):
    assert 0 < Journal(tmp_path / "not" / "yet").room < np.inf
    assert Journal().room == np.inf


DAMAGE = [b"", b"{}", b"[]", b"null", b"3", b"{", b"\xff", b"[" * 9_000,
          b'{"scalars": {"step": 1}, "vectors": ["v-1"]}',
          b'{"scalars": {"step": 1}, "vectors": ["v-1"], "digest": "0"}']  # fmt: skip


@pytest.mark.parametrize("content", DAMAGE, ids=range(len(DAMAGE)))
def test_a_damaged_state_is_refused_and_nothing_of_it_deleted(tmp_path, content):
    """Hours of work do not start anew without a word."""
    Journal.of_request(tmp_path / "j", {"seed": 0}).part("a").save({"step": 1}, ["v-1"], numbered)
    (tmp_path / "j" / "a" / "state.json").write_bytes(content)
    journal = Journal.of_request(tmp_path / "j", {"seed": 0}).part("a")
    with pytest.raises(RequestError, match=r"in .*a is damaged \(state.json\); delete that folder"):
        journal.load()
    assert (tmp_path / "j" / "a" / "v-1.npz").exists()
    journal.discard()
    assert journal.load() is None


@pytest.mark.parametrize("content", [*DAMAGE[:8], b'{"seed": 0}', b'{"x64": 3, "seed": 0}'])
def test_a_damaged_request_is_refused_where_there_is_a_state(tmp_path, content):
    Journal.of_request(tmp_path / "j", {"seed": 0}).part("a").save({"step": 1})
    (tmp_path / "j" / "request.json").write_bytes(content)
    with pytest.raises(RequestError, match=r"journal: the interim state in .*j .* delete it"):
        Journal.of_request(tmp_path / "j", {"seed": 0})
    (tmp_path / "j" / "a" / "state.json").unlink()  # then there is nothing to lose
    assert Journal.of_request(tmp_path / "j", {"seed": 0}).part("a").load() is None


def _other_shape(path):
    np.savez(path, np.zeros((3, 2)), np.zeros(4))


def _text(path):
    np.savez(path, np.array(["a"]), np.zeros(4))


def _cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def _bit(path):
    raw = bytearray(path.read_bytes())
    raw[200] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("damage", [Path.unlink, _other_shape, _text, _cut, _bit])
def test_a_vector_that_is_not_what_it_was_is_refused(tmp_path, damage):
    path = tmp_path / "v-1.npz"
    Journal(tmp_path).save({"step": 1}, ["v-1"], numbered)
    damage(path)
    journal = Journal(tmp_path)
    assert journal.load() == {"step": 1}
    with pytest.raises(RequestError, match=r"damaged \(v-1.npz\); delete that folder to start"):
        journal.vector("v-1", LIKE)


@pytest.mark.parametrize("name", ["../out", "..", "a/b", "", ".hidden", "/tmp/x"])
def test_no_name_leaves_the_folder(tmp_path, name):
    journal = Journal(tmp_path / "j")
    with pytest.raises(RequestError, match="is no name of a part of it"):
        journal.part(name)
    with pytest.raises(RequestError, match="is no name of a part of it"):
        journal.vector(name, LIKE)
    with pytest.raises(RequestError, match="is no name of a part of it"):
        journal.save({}, [name], numbered)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_was_writing_is_deleted(tmp_path):
    Journal(tmp_path).save({"step": 1}, ["v-1"], numbered)
    for name in (".state.json", ".12-0123abcd-v-2.npz", "v-2.npz"):
        (tmp_path / name).write_bytes(b"half")
    assert Journal(tmp_path).load() == {"step": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.json", "v-1.npz"]


def test_a_setting_that_is_not_set_is_the_same_as_none(tmp_path):
    Journal.of_request(tmp_path / "j", {"seed": 0, "more": None}).part("a").save({"step": 1})
    assert Journal.of_request(tmp_path / "j", {"seed": 0}).part("a").load() == {"step": 1}
