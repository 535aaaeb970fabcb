"""Files damaged anywhere or made to do harm: told in one line or read, and nothing else happens."""

import json
import pickle
import shutil
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
import zlib

import jax.numpy as jnp
import msgpack
import numpy as np
import orbax.checkpoint as ocp
import pytest
import torch_files
from container_files import (
    ARRAYS,
    WRITERS,
    nested,
    safetensors_,
    safetensors_header,
    same,
    torch_legacy,
)
from container_files import msgpack as flax_msgpack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from landscape.checkpoints import save_npz
from landscape.checkpoints.containers import opened
from landscape.checkpoints.containers.orbax import quiet
from landscape.errors import RequestError


def cases(count):
    """That many cases, the same in every run."""
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def outcome(path):
    """The arrays, as they are described, or None where the file is refused in one line."""
    told = ""
    try:
        container = opened(path)
        found = dict(container.read(container.arrays))
    except RequestError as error:
        told = str(error)
    if told:
        assert str(path) in told
        assert "\n" not in told
        return None
    for name, array in found.items():
        said = container.arrays[name]
        assert (array.shape, array.dtype) == (said.shape, said.dtype)
    return found


def outcome_of(path, content):
    path.write_bytes(content)
    return outcome(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a good file of each kind."""
    path = tmp_path_factory.mktemp("good") / "a"
    contents = {}
    for write in WRITERS:
        path.unlink(missing_ok=True)
        write(path, ARRAYS)
        contents[write] = path.read_bytes()
    return contents


# --- damage ---------------------------------------------------------------------------------------

PLACES = st.floats(0, 1, exclude_max=True)  # in a file, whatever its length


@pytest.mark.parametrize("write", WRITERS)
def test_no_part_of_a_file_is_taken_for_the_whole(tmp_path, whole, write):
    for length in range(len(whole[write])):
        assert outcome_of(tmp_path / "a", whole[write][:length]) is None


@pytest.mark.parametrize("write", WRITERS)
@cases(200)
@given(flips=st.lists(st.tuples(PLACES, st.integers(0, 7)), min_size=1, max_size=8))
def test_flipped_bits_are_told_or_change_values_only(tmp_path, whole, write, flips):
    content = bytearray(whole[write])
    for place, bit in flips:
        content[int(place * len(content))] ^= 1 << bit
    outcome_of(tmp_path / "a", content)


@pytest.mark.parametrize("write", WRITERS)
@cases(100)
@given(other=st.sampled_from(WRITERS), cut=st.tuples(*[PLACES] * 4))
def test_files_put_together_from_parts_are_told_or_read(tmp_path, whole, write, other, cut):
    content, piece = whole[write], whole[other]
    start, end = sorted(int(place * len(content)) for place in cut[:2])
    first, last = sorted(int(place * len(piece)) for place in cut[2:])
    outcome_of(tmp_path / "a", content[:start] + piece[first:last] + content[end:])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of Orbax for each of its ways of storing arrays, and its files."""
    tree = {"body": {"kernel": jnp.arange(6.0)}, "bias": jnp.ones(2)}
    found = []
    for database in (True, False):
        folder = tmp_path_factory.mktemp("orbax") / "a"
        with (
            quiet(),
            ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=database)) as writer,
        ):
            writer.save(folder, args=ocp.args.PyTreeSave(tree))
        files = sorted(f for f in folder.rglob("*") if f.is_file() and f.stat().st_size)
        found.append((folder, files))
    return found


@cases(60)
@given(
    database=st.booleans(),
    chosen=PLACES,
    flips=st.lists(st.tuples(PLACES, st.integers(0, 7)), max_size=8),
    end=PLACES,
)
def test_damaged_folders_are_told_or_read(tmp_path, folders, database, chosen, flips, end):
    folder, files = folders[database]
    file = files[int(chosen * len(files))]
    content = bytearray(file.read_bytes())
    for place, bit in flips:
        content[int(place * len(content))] ^= 1 << bit
    if not flips:
        content = content[: int(end * len(content))]
    shutil.copytree(folder, tmp_path / "a")
    (tmp_path / "a" / file.relative_to(folder)).write_bytes(content)
    try:
        outcome(tmp_path / "a")
    finally:
        shutil.rmtree(tmp_path / "a")


# --- false claims ---------------------------------------------------------------------------------

SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 2**24, 2**31, 2**62, -1]), max_size=4) | st.just(
    [1] * 33
)
DTYPES = st.sampled_from(["float32", "float64", "int8", "bool", "complex128", "object", "V5", "U9"])


def npy(dtype, *shape):
    """The header of a ``.npy``."""
    said = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(said)) + said


def npz_saying(path, shape, dtype):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", npy(np.dtype(dtype).str, *shape) + bytes(24))


def safetensors_saying(path, shape, dtype):
    code = {"float32": "F32", "float64": "F64", "int8": "I8", "bool": "BOOL"}.get(dtype, dtype)
    said = {"a": {"dtype": code, "shape": shape, "data_offsets": [0, 24]}}
    safetensors_header(path, json.dumps(said), bytes(24))


def msgpack_saying(path, shape, dtype):
    content = msgpack.packb([shape, dtype, bytes(24)])
    path.write_bytes(msgpack.packb({"a": msgpack.ExtType(1, content)}))


def torch_saying(path, shape, dtype):
    values = np.zeros(24 // np.dtype(dtype).itemsize if dtype in ("float32", "float64") else 3, "l")
    said = torch_files.Tensor(torch_files.Storage(values), tuple(shape), (1,) * len(shape))
    torch_files.write(path, {"a": said}, "zip")


@pytest.mark.parametrize("write", [npz_saying, safetensors_saying, msgpack_saying, torch_saying])
@cases(100)
@given(shape=SHAPES, dtype=DTYPES)
def test_no_memory_is_taken_for_what_a_file_only_says(tmp_path, write, shape, dtype):
    write(tmp_path / "a", shape, dtype)
    tracemalloc.start()
    try:
        outcome(tmp_path / "a")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("write", [safetensors_, flax_msgpack, torch_legacy])
@cases(80)
@given(name=st.text(st.sampled_from("ab../\\\0\n\u202eé"), max_size=6))
def test_a_name_comes_back_as_it_was_or_is_refused(tmp_path, write, name):
    write(tmp_path / "a", {name: ARRAYS["half"]})
    found = outcome(tmp_path / "a")
    parts = name.split("/")
    if found is None:
        assert not name or not parts[0] or ".." in parts or not name.isprintable()
    else:
        assert list(found) == [name]
        assert parts[0]
        assert ".." not in parts
        assert "\0" not in name


@pytest.mark.parametrize("name", ["file", "allow_pickle", "args", "kwds", "file/file", "a.npy"])
def test_a_leaf_of_any_name_is_written_and_read(tmp_path, name):
    arrays = {name: ARRAYS["body/kernel"], "half": ARRAYS["half"]}
    save_npz(nested(arrays), tmp_path / "a.npz")
    assert same(outcome(tmp_path / "a.npz"), arrays)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npz")[name], arrays[name])


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    with pytest.raises(ValueError, match="Object arrays"):
        save_npz({"a": ARRAYS["half"], "b": np.array([{}])}, tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a", "a.npy", "a.npz/b.npz"])
def test_where_a_file_cannot_be_written_is_told(tmp_path, name):
    (tmp_path / "a.npz").write_bytes(b"")
    with pytest.raises(RequestError, match=rf"^out: {tmp_path}/{name} "):
        save_npz({"a": np.ones(3)}, tmp_path / name)


# --- code -----------------------------------------------------------------------------------------


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def tricks(marker):
    """Pickles that make the file ``marker`` when they are unpickled."""
    command, expression = text(f"touch {marker}"), text(f"open({str(marker)!r}, 'w').close()")
    system = b"cos\nsystem\n"
    imported = b"cbuiltins\n__import__\n" + text("os") + b"\x85R"
    got = b"cbuiltins\ngetattr\n" + imported + text("system") + b"\x86R"
    mapped = b"cbuiltins\nmap\ncbuiltins\neval\n]" + expression + b"a\x86\x81"
    partial = b"cfunctools\npartial\ncbuiltins\nprint\n\x85R"
    return {
        "REDUCE": system + command + b"\x85R",
        "another name": b"cposix\nsystem\n" + command + b"\x85R",
        "STACK_GLOBAL": text("os") + text("system") + b"\x93" + command + b"\x85R",
        "a dotted name": text("zipfile") + text("os.system") + b"\x93" + command + b"\x85R",
        "INST": b"(" + command + b"ios\nsystem\n",
        "OBJ": b"(" + system + command + b"o",
        "eval": b"cbuiltins\neval\n" + expression + b"\x85R",
        "exec": b"cbuiltins\nexec\n" + expression + b"\x85R",
        "getattr": got + command + b"\x85R",
        "NEWOBJ": b"cbuiltins\ntuple\n" + mapped + b"\x85\x81",
        "NEWOBJ_EX": b"cbuiltins\ntuple\n" + mapped + b"\x85}\x92",
        "BUILD": partial + b"(" + system + command + b"\x85}Ntb)R",
        "memo": system + b"q\x07h\x07" + command + b"\x85R",
    }


TRICKS = list(tricks("m"))
PLACED = {
    "alone": b"%s",
    "value": b"}" + text("a") + b"%ss",
    "key": b"}%sNs",
    "state dict": b"}" + text("state_dict") + b"}" + text("a") + b"%sss",
    "items of an ordered dict": b"ccollections\nOrderedDict\n]%sa\x85R",
    "argument of a tensor": b"ctorch._utils\n_rebuild_tensor_v2\n%s\x85R",
    "argument of a parameter": b"ctorch._utils\n_rebuild_parameter\n%s\x85R",
    "storage": b"%sQ",
    "attribute": b"}%sb",
    "attribute of a namespace": b"cargparse\nNamespace\n)\x81}" + text("a") + b"%ssb",
    "slot of a namespace": b"cargparse\nNamespace\n)\x81N}" + text("a") + b"%ss\x86b",
    "argument of a namespace": b"cargparse\nNamespace\n%s\x85R",
    "value of a scalar": b"cnumpy.core.multiarray\nscalar\n%s\x85R",
    "class to reconstruct": b"ccopyreg\n_reconstructor\n%s\x85R",
    "item of a default dict": b"ccollections\ndefaultdict\n)R" + text("a") + b"%ss",
    "never reached": b"}%s0",
}


@pytest.mark.parametrize("trick", TRICKS)
def test_the_tricks_work_on_pickle_itself(tmp_path, trick):
    marker = tmp_path / "ran"
    pickle.loads(b"\x80\x04" + tricks(marker)[trick] + b".")
    assert marker.exists()


@cases(400)
@given(
    trick=st.sampled_from(TRICKS),
    place=st.sampled_from(list(PLACED)),
    form=st.sampled_from(torch_files.FORMATS),
    protocol=st.integers(2, 5),
)
def test_no_code_in_a_file_is_run(tmp_path, trick, place, form, protocol):
    marker = tmp_path / "ran"
    body = PLACED[place] % tricks(marker)[trick]
    body = b"\x80" + bytes([protocol]) + body + b"."
    torch_files.write(tmp_path / "a", {}, form, body=body)
    assert outcome(tmp_path / "a") is None
    assert not marker.exists()


INSTRUCTIONS = [bytes([i]) for i in range(256)]
PIECES = [
    b"ccollections\nOrderedDict\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_parameter\n",
    b"ctorch\nFloatStorage\n",
    b"cargparse\nNamespace\n",
    text("storage"),
    text("0"),
    text("cpu"),
    text("a"),
    b"K\x01",
    b"(",
    b"(K\x00K\x01t",
    b"q\x00",
    b"h\x00",
    b"Q",
    b"R",
    b"b",
    b"s",
    b"u",
]


@pytest.mark.parametrize("form", torch_files.FORMATS)
@cases(250)
@given(pieces=st.lists(st.sampled_from(PIECES) | st.sampled_from(INSTRUCTIONS), max_size=30))
def test_instructions_in_any_order_are_told_or_read(tmp_path, form, pieces):
    torch_files.write(tmp_path / "a", {}, form, body=b"\x80\x02" + b"".join(pieces) + b".")
    outcome(tmp_path / "a")


# --- bombs ----------------------------------------------------------------------------------------


def central(name, method=0, packed=0, size=0, at=0):
    """An entry of the directory of a zip archive."""
    said = (20, 20, 0, method, 0, 33, 0, packed, size, len(name), 0, 0, 0, 0, 0, at)
    return b"PK\x01\x02" + struct.pack("<6H3L5H2L", *said) + name


def member(name, content=b"", method=0, size=None):
    said = (20, 0, method, 0, 33, 0, len(content), size or len(content), len(name), 0)
    return b"PK\x03\x04" + struct.pack("<5H3L2H", *said) + name + content


def archive(members, directory, count=1):
    end = struct.pack("<4H2LH", 0, 0, count % 2**16, count % 2**16, len(directory), len(members), 0)
    return members + directory + b"PK\x05\x06" + end


def inflating(path):
    """400 MB of zeros in an ``.npz`` of 400 kB."""
    header = npy("|u1", 400 * 10**6)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(header) + b"".join(packer.compress(bytes(10**6)) for _ in range(400))
    packed += packer.flush()
    size = len(header) + 400 * 10**6
    entry = central(b"a.npy", 8, len(packed), size)
    path.write_bytes(archive(member(b"a.npy", packed, 8, size), entry))


def overlapping(path):
    """One array of 1 MB under 50 names."""
    content = npy("|u1", 999_930) + bytes(999_930)  # 1,000,000 bytes
    names = [b"%d.npy" % i for i in range(10, 60)]
    directory = b"".join(central(name, 0, 10**6, 10**6) for name in names)
    path.write_bytes(archive(member(names[0], content), directory, 50))


def long_directory(path, first=b"0.npy"):
    path.write_bytes(archive(member(first), central(first) * 10**6, 10**6))


def long_directory_of_torch(path):
    long_directory(path, b"a/data.pkl")


def many_members(path):
    """150,000 names within the 8 MiB that a directory may have."""
    path.write_bytes(archive(member(b"0.npy"), central(b"0.npy") * 150_000, 150_000))


def endless_directory(path):
    """A directory that says that it has 4 GB."""
    content = archive(member(b"0.npy"), central(b"0.npy"))
    path.write_bytes(content[:-10] + struct.pack("<2LH", 2**32 - 2, 0, 0))


def long_header(path):
    entry = b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    header = b"{" + b",".join(entry % i for i in range(10**6)) + b"}"
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def many_names(path):
    """130,000 names within the 8 MiB that a header may have."""
    entry = '"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    safetensors_header(path, "{" + ",".join(entry % i for i in range(130_000)) + "}")


def long_map(path):
    path.write_bytes(b"\xdf" + struct.pack(">L", 10**6) + b"\xa1a\xc0" * 10**6)


def maps_in_maps(path):
    """A million keys, no map of which is complete before the last."""
    part = b"\xde" + struct.pack(">H", 50_000) + b"\xa1a\xc0" * 49_999 + b"\xa1a"
    path.write_bytes(part * 20 + b"\xc0")


def long_list(path):
    path.write_bytes(b"\x81\xa1a\xdd" + struct.pack(">L", 10**7) + bytes(10**7))


def long_pickle(path):
    torch_files.write(path, {}, body=b"\x80\x02}(" + b"X\x01\x00\x00\x00aN" * 10**6 + b"u.")


def long_text(path):
    """Says that a text of 4 GB follows."""
    torch_files.write(path, {}, body=b"\x80\x02}X\xff\xff\xff\xff.")


def long_metadata(path):
    path.mkdir()
    (path / "_METADATA").write_bytes(b'{"tree_metadata": {' + b" " * 40 * 2**20)


BOMBS = {
    inflating: "unpacks to more than",
    overlapping: "members are longer than the file",
    long_directory: "directory has 51,000,000 bytes",
    long_directory_of_torch: "directory has 56,000,000 bytes",
    many_members: "more than 100,000 members",
    endless_directory: "cannot be read",
    long_header: "header has 56,888,891 bytes",
    many_names: "has 130,000 names",
    long_map: "more than 200,000 entries",
    maps_in_maps: "more than 200,000 entries",
    long_list: "more than 200,000 entries",
    long_pickle: "more than 2,000,000 instructions",
    long_text: "cannot be read",
    long_metadata: "its _METADATA has",
}

PROGRAM = """
import re, sys
from pathlib import Path
from landscape.checkpoints.containers import opened
from landscape.errors import RequestError

def memory(kind):
    return 1024 * int(re.search(kind + r":\\s*(\\d+)", Path("/proc/self/status").read_text())[1])

for path in map(Path, sys.argv[1:]):
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is taken now
    before = memory("VmRSS")
    try:
        opened(path)
    except RequestError as error:
        print(memory("VmHWM") - before, error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of each step")
def test_bombs_take_little_memory(tmp_path):
    for make in BOMBS:
        make(tmp_path / make.__name__)
    paths = {tmp_path / make.__name__: message for make, message in BOMBS.items()}
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, *paths], capture_output=True, text=True, check=True
    )
    for line, (path, message) in zip(told.stdout.splitlines(), paths.items(), strict=True):
        taken, refusal = line.split(" ", 1)
        assert str(path) in refusal
        assert message in refusal
        size = path.stat().st_size if path.is_file() else 0
        assert int(taken) < size + 64 * 2**20, refusal


def numbered(path, numbers):
    """A dictionary with these numbers as keys. Python would take for ever to make it."""
    keys = b"".join(b"\x8a\x10" + number.to_bytes(16, "little") + b"K\x00" for number in numbers)
    return torch_files.write(path, None, body=b"\x80\x02}(" + keys + b"u.")


def seconds_to_read(path):
    start = time.perf_counter()
    with pytest.raises(RequestError, match="holds no mapping of names to tensors among 0, "):
        opened(path)
    return time.perf_counter() - start


def test_numbers_that_all_have_the_same_hash_are_read_as_fast_as_others(tmp_path):
    count, modulus = 40_000, 2**61 - 1  # of hashes of integers
    others = seconds_to_read(numbered(tmp_path / "a.th", range(count)))
    same = seconds_to_read(numbered(tmp_path / "b.th", range(0, count * modulus, modulus)))
    assert same < 1 + 10 * others


def test_a_number_is_no_name_of_a_tensor(tmp_path):
    path = torch_files.write(tmp_path / "a.th", {0: torch_files.tensor(np.ones(3, "f"), "0")})
    with pytest.raises(RequestError, match="holds no mapping of names to tensors among 0"):
        opened(path)
    beside = {"epoch": {0: 1, 1.5: 2}, **torch_files.state_dict({"a": np.ones(3, "f")})}
    torch_files.write(path, beside)
    assert list(opened(path).arrays) == ["a"]
