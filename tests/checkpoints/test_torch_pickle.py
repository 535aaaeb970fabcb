"""PyTorch's files without PyTorch: exact values, and nothing but values."""

import argparse
import datetime
import os
import pathlib
import tracemalloc
import zipfile
from collections import Counter, OrderedDict, defaultdict, deque
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from container_files import loaded, refused
from torch_files import FORMATS, Storage, Tensor, state_dict, tensor, write

from landscape.checkpoints.containers.container import Described
from landscape.checkpoints.containers.torch_pickle import opened, recognises
from landscape.errors import RequestError

ARRAYS = {
    "b.weight": np.random.default_rng(0).normal(size=(4, 3, 2, 2)).astype("f"),
    "a.bias": np.arange(5, dtype="f"),
    "a.count": np.array(7),
    "a.none": np.zeros((0, 3), "f"),
}
ONE = Storage(np.arange(6, dtype="f"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.th"


@pytest.mark.parametrize("form", FORMATS)
def test_tensors_come_back_as_they_were_and_in_order(path, form):
    write(path, state_dict(ARRAYS), form)
    assert recognises(path)
    found = loaded(path)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("form", FORMATS)
def test_tensors_are_described_before_they_are_read(path, form):
    container = opened(write(path, state_dict(ARRAYS), form))
    described = {name: Described(array.shape, array.dtype) for name, array in ARRAYS.items()}
    assert container.arrays == described
    assert container.format == {"legacy": "PyTorch pickle", "zip": "PyTorch zip"}[form]
    assert [name for name, _ in container.read(["a.bias", "b.weight"])] == ["a.bias", "b.weight"]


@pytest.mark.parametrize("form", FORMATS)
def test_a_part_of_a_storage_does_not_keep_the_whole(path, form):
    storage = Storage(np.arange(10**6, dtype="f"))
    parts = {str(i): Tensor(storage, (3,), (1,), offset=i) for i in range(5)}
    found = loaded(write(path, parts, form))
    for i, part in enumerate(found.values()):
        assert part.tolist() == [i, i + 1, i + 2]
        assert part.base is None or part.base.nbytes == part.nbytes


HOLDERS = [
    "state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict", "ema", "teacher",
    "weights", "net", "module", "params",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("holder", HOLDERS)
def test_a_state_dict_is_found_in_a_training_checkpoint(path, form, holder):
    write(path, {"best": tensor(1.0, "9"), "epoch": 3, holder: state_dict(ARRAYS)}, form)
    assert list(loaded(path)) == list(ARRAYS)
    assert opened(path).metadata == {"holder": holder}


def test_a_file_that_is_the_state_dict_has_no_holder(path):
    assert opened(write(path, state_dict(ARRAYS))).metadata == {}


@pytest.mark.parametrize("first", range(len(HOLDERS)))
def test_of_several_holders_averaged_weights_and_then_the_usual_names_come_first(path, first):
    held = {holder: {holder: tensor(1.0, str(i))} for i, holder in enumerate(HOLDERS)}
    write(path, dict(reversed(list(held.items())[first:])))
    assert list(loaded(path)) == [HOLDERS[first]]


def test_a_holder_without_tensors_is_passed_by(path):
    write(path, {"state_dict_ema": None, "model_ema": {}, "state_dict": state_dict(ARRAYS)})
    assert opened(path).metadata == {"holder": "state_dict"}


# What training scripts leave beside the tensors.
BESIDE = {
    "args": argparse.Namespace(lr=0.1, path=pathlib.Path("a/b"), more=SimpleNamespace(a=1)),
    "metric": np.float64(76.5),
    "history": np.arange(3.0),
    "best": defaultdict(float, top1=np.float32(1)),
    "seen": {1, 2},
    "frozen": frozenset([1]),
    "milestones": Counter({30: 1}),
    "losses": deque([0.5, np.float64(1)], maxlen=9),
    "output": pathlib.PureWindowsPath("a/b"),
    "began": datetime.datetime(2020, 1, 2),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_training_leaves_beside_the_tensors_is_passed_over(path, form, protocol, monkeypatch):
    write(path, {**BESIDE, "state_dict": state_dict(ARRAYS)}, form, protocol=protocol)
    monkeypatch.setattr(argparse, "Namespace", None)  # neither looked up nor called
    assert list(loaded(path)) == list(ARRAYS)


@pytest.mark.parametrize("beside", BESIDE)
def test_what_is_no_tensor_is_refused_inside_the_state_dict(path, beside):
    write(path, {"state_dict": {**state_dict(ARRAYS), beside: BESIDE[beside]}})
    refused(path, rf"among tensors it holds \S+ as '{beside}'\); if you trust it, load it with Py")


@pytest.mark.parametrize("module", [b"numpy.core", b"numpy._core"])
def test_scalars_of_both_numpys_are_passed_over(path, module):
    dtype = b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x88\x89\x87R}b"
    scalar = b"c" + module + b".multiarray\nscalar\n" + dtype + b"C\x08" + bytes(8) + b"\x86R"
    content = write(path, {"a": 77, "state_dict": state_dict(ARRAYS)}).read_bytes()
    assert content.count(b"KM") == 1
    path.write_bytes(content.replace(b"KM", scalar))
    assert list(loaded(path)) == list(ARRAYS)


def test_objects_of_python_2_are_passed_over(path):
    made = b"ccopy_reg\n_reconstructor\ncargparse\nNamespace\nc__builtin__\nobject\nN\x87R}b"
    scalar = b"cnumpy.core.multiarray\nscalar\nU\x04\x00\xff\x80\x3f\x85R"
    write(path, {}, body=b"\x80\x02}U\x01a" + made + b"sU\x01b" + scalar + b"s.")
    refused(path, "no mapping of names to tensors among 'a', 'b'")


NAMESPACE = b"cargparse\nNamespace\n"
SYSTEM = b"cos\nsystem\n"
MAKING = [
    NAMESPACE + b")\x81",
    NAMESPACE + b")}\x92",
    NAMESPACE + b")R",
    b"ccopyreg\n_reconstructor\n" + NAMESPACE + b"N\x86R",
]


@pytest.mark.parametrize("make", MAKING)
def test_no_state_of_a_namespace_has_an_effect(path, make):
    state = b"}(X\x09\x00\x00\x00__class__NX\x07\x00\x00\x00__new__Nu"
    for said in (state, b"N" + state + b"\x86", NAMESPACE, b"N"):
        write(path, {}, body=b"\x80\x02}X\x01\x00\x00\x00a" + make + said + b"bs.")
        refused(path, "no mapping of names to tensors among 'a'")
        assert argparse.Namespace(a=1) == argparse.Namespace(a=1)


@pytest.mark.parametrize("make", MAKING)
def test_a_namespace_is_called_in_vain(path, make):
    again = b"q\x01h\x01\x85R)\x81)R"
    write(path, {}, body=b"\x80\x02}X\x01\x00\x00\x00a" + make + again + b"s.")
    refused(path, "no mapping of names to tensors among 'a'")


@pytest.mark.parametrize(
    "trick",
    [
        NAMESPACE + b")\x81" + SYSTEM + b"b",
        NAMESPACE + b")\x81}X\x0c\x00\x00\x00__setstate__" + SYSTEM + b"sb",
        NAMESPACE + SYSTEM + b"\x85R",
        SYSTEM + b"q\x01" + NAMESPACE + b"q\x01h\x01)R",
        b"cargparse\nos.system\n",
        b"cpathlib\nos\n",
        b"ccollections\nabc\n",
        b"c\n\n",
        b"cnumpy\nload\n",
        b"cbuiltins\ngetattr\n",
    ],
)
def test_a_placeholder_does_not_let_code_in(path, trick):
    write(path, {}, body=b"\x80\x02}X\x01\x00\x00\x00a" + trick + b"s.")
    refused(path, "it wants to run code")


@pytest.mark.parametrize(
    "body",
    [
        NAMESPACE + b"Q",  # as a storage
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + NAMESPACE + b"K\x00))tR",
        b"ccollections\nOrderedDict\n" + NAMESPACE + b"\x85R",
        b"}" + NAMESPACE + b"Ns",  # as a name
        b"ctorch._utils\n_rebuild_tensor_v2\n)\x81",
        b"}" + NAMESPACE + b"q\x07\x85q\x07h\x07Ns",  # as a name, by another's place
        NAMESPACE + b"h\x09",  # a place that nothing was put in
        NAMESPACE + b"q\x00h\x00a",
        NAMESPACE,
    ],
)
def test_a_placeholder_is_no_part_of_a_tensor(path, body):
    refused(write(path, {}, body=b"\x80\x02" + body + b"."), "cannot be read")


def test_no_name_in_a_file_reaches_the_terminal_as_it_is(path):
    write(path, {}, body=b"\x80\x04\x8c\x04os\x1b[\x8c\x06system\x93.")
    refused(path, r"to load 'os\\x1b\[\.system'")


def test_a_pickled_module_is_refused_with_what_to_save_instead(path):
    write(path, {}, body=b"\x80\x02ctorch.nn.modules.conv\nConv2d\nq\x00)\x81q\x01}b.")
    refused(path, r"to load 'torch\.nn\.modules\.conv\.Conv2d'.*; if .* save module\.state_dict")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dtype", [*"fdeFlB?", ml_dtypes.bfloat16])
def test_every_kind_of_storage_keeps_its_values(path, form, dtype):
    values = np.array([0, 1, 1.5, 100]).astype(dtype)
    found = loaded(write(path, state_dict({"a": values}), form))["a"]
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_that_has_been_used_is_read(path, form, protocol):
    found = loaded(write(path, state_dict(ARRAYS), form, protocol=protocol))
    assert list(found) == list(ARRAYS)


def test_names_of_python_2_are_read(path):
    content = write(path, {"a": tensor(1.0, "0")}).read_bytes()
    text, bytes_ = b"X\x01\x00\x00\x00a", b"U\x02\xc3\xa4"
    assert content.count(text) == 1
    path.write_bytes(content.replace(text, bytes_))
    assert list(loaded(path)) == ["ä"]


def test_ordered_dicts_of_python_2_are_read(path):
    content = write(path, {"state_dict": OrderedDict(a=tensor(1.0, "0"))}).read_bytes()
    # OrderedDict(), its attributes or items: OrderedDict([["b", None]]) and then the items
    now, then = b"OrderedDict\nq\x02)R", b"OrderedDict\nq\x02]](U\x01bNea\x85R"
    assert now in content
    path.write_bytes(content.replace(now, then, 1))
    assert list(loaded(path)) == ["a"]


@pytest.mark.parametrize("form", FORMATS)
def test_strides_and_shared_storages_are_followed(path, form):
    tensors = {"turned": Tensor(ONE, (3, 2), (1, 3)), "end": Tensor(ONE, (2,), (2,), offset=3)}
    found = loaded(write(path, tensors, form))
    np.testing.assert_array_equal(found["turned"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(found["end"], [3, 5])


@pytest.mark.parametrize("form", FORMATS)
def test_code_in_a_file_does_not_run(path, form):
    marker = path.with_name("ran")

    class Harmful:
        def __reduce__(self):
            return os.system, (f"touch {marker}",)

    write(path, {"a": tensor(1.0, "0"), "z": Harmful()}, form)
    refused(path, r"it wants to run code: to load '\w+\.system'")
    assert not marker.exists()


@pytest.mark.parametrize("state", [{"shape": (9,)}, (None, {"shape": (9,)}), (None, {"x": 1})])
def test_a_file_cannot_change_a_tensor_after_its_check(path, state):
    write(path, {"a": Tensor(ONE, (6,), (1,), state=state)})
    refused(path, "cannot be read")


@pytest.mark.parametrize("name", [b"torch._utils\n_rebuild_tensor_v2", b"torch\nFloatStorage"])
def test_a_file_cannot_change_what_builds_tensors(path, name):
    set_attribute = b"\x80\x02c" + name + b"\nN}X\x01\x00\x00\x00xK\x01s\x86b."
    write(path, {}, body=set_attribute)
    refused(path, "sets attributes of what has none")


@pytest.mark.parametrize(
    "said",
    [((7,), (1,), 0), ((6,), (1,), 1), ((2, 2), (1, 5), 0), ((6,), (-1,), 5), ((99, 6), (0, 1), 0),
     ((2**40, 2**40), (0, 0), 0), ((-1,), (1,), 0), ((1,) * 99, (1,) * 99, 0), ((2,), (1, 1), 0)],
)  # fmt: skip
def test_a_tensor_does_not_reach_beyond_its_storage(path, said):
    refused(write(path, {"a": Tensor(ONE, *said)}), "cannot be read")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("size", [2, 7, 2**50, -1])
def test_a_storage_has_the_size_it_says(path, form, size):
    storage = Storage(ONE.values, size=size)
    refused(write(path, {"a": Tensor(storage, (2,), (1,))}, form), "cannot be read")


def test_a_short_file_cannot_ask_for_a_large_memo(path):
    write(path, {}, body=b"\x80\x02}r\xff\xff\xff\x7f.")
    tracemalloc.start()
    refused(path, "no mapping of names to tensors")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_a_name_is_no_tuple_however_deep(path):
    # The hash of one so deep would overflow the stack of the interpreter.
    write(path, {}, body=b"\x80\x02})" + b"\x85" * 500_000 + b"K\x01s.")
    refused(path, "without a plain name")


def test_tuples_of_tuples_take_no_time(path):
    # Each has the one before twice: the hash of the last would take 2^60 steps.
    twice = b"q\x00h\x00\x86" * 60
    refused(write(path, {}, body=b"\x80\x02})" + twice + b"K\x01s."), "without a plain name")


@pytest.mark.parametrize(("begin", "end"), [(b"](", b"e"), (b"(", b"t")])
def test_one_long_list_is_not_handed_on_a_million_times(path, begin, end):
    pairs = begin + b"](K\x01K\x02e" * 100_000 + end + b"q\x00"
    call = b"ccollections\nOrderedDict\nq\x01" + b"h\x01h\x00\x85R" * 100_000
    write(path, {}, body=b"\x80\x02" + pairs + call + b".")
    refused(path, "more than 2,000,000 instructions")


def test_placeholders_of_placeholders_take_no_time(path):
    # Each is called with the one before twice, and keeps neither.
    twice = b"q\x00h\x00\x86q\x01" + NAMESPACE + b"h\x01R"
    write(path, {}, body=b"\x80\x02" + NAMESPACE + twice * 60 + b".")
    refused(path, "no mapping of names to tensors")


def test_archives_are_not_unpacked(path):
    write(path, state_dict({"a": np.zeros(10**5, "f")}), "zip", zipped=zipfile.ZIP_DEFLATED)
    refused(path, "compressed")


@pytest.mark.parametrize("form", FORMATS)
def test_bytes_of_the_other_order_are_refused(path, form):
    refused(write(path, state_dict(ARRAYS), form, little_endian=False), "big-endian")


@pytest.mark.parametrize(
    ("content", "among"),
    [
        ([], r"\)"),
        ({}, r"\)"),
        ({"epoch": 3}, r" among 'epoch'\)"),
        ({1: tensor(1.0, "0")}, r" among 1\)"),
        (dict.fromkeys("abcdef"), r" among 'a', 'b', 'c', 'd', \.\.\.\)"),
    ],
)
def test_a_file_without_a_state_dict_is_told_by_what_it_holds(path, content, among):
    refused(write(path, content), f"no mapping of names to tensors{among}")
    with pytest.raises(RequestError) as told:
        opened(path)
    assert "undamaged" not in str(told.value)


def test_other_files_are_not_taken_for_one(path):
    np.savez(path.with_suffix(".npz"), a=np.ones(3))
    assert not recognises(path.with_suffix(".npz"))
    path.write_bytes(b"")
    assert not recognises(path)
