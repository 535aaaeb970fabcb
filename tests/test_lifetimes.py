import copy
import gc
import pickle
import weakref

from landscape.lifetimes import kept_with


class Owner:
    def method(self):
        return self

    def other(self):
        return self


def test_a_value_is_made_once_for_each_object_and_key():
    made, one, other = [], Owner(), Owner()
    for owner, key in ((one, 1), (one, 1), (one, 2), (other, 1), (one.method, 1), (one.other, 1)):
        kept_with(owner, key, lambda: made.append(None) or len(made))
    assert len(made) == 5
    assert kept_with(one.method, 1, None) == 4


def test_it_goes_with_the_object_even_if_it_refers_to_it():
    def there():
        owner = Owner()
        assert kept_with(owner.method, "", lambda: [owner]) == [owner]
        return weakref.ref(owner)

    gone = there()
    gc.collect()
    assert gone() is None


def test_copies_do_not_have_it():
    owner = Owner()
    kept_with(owner, 1, lambda: lambda: None)  # cannot be pickled
    for twin in (copy.copy(owner), copy.deepcopy(owner), pickle.loads(pickle.dumps(owner))):
        assert kept_with(twin, 1, lambda: "another") == "another"


def test_objects_that_can_hold_nothing_get_a_new_one_every_time():
    for owner in (abs, Owner, 3, "text"):
        assert kept_with(owner, 1, lambda: "new") == "new"
        assert kept_with(owner, 1, lambda: "newer") == "newer"
