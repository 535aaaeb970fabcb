"""Generated folders, images and .npz: data, or one line; in little time and memory; nothing run."""

import io
import itertools
import os
import shutil
import struct
import tracemalloc
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
from hostile import CASES, each, only_within
from hypothesis import strategies as st
from PIL import Image

from landscape.cli import main
from landscape.data import load
from landscape.data.resizing import Geometry
from landscape.errors import RequestError
from landscape.printable import printable

MOST_MEMORY = 100e6  # of Python's and NumPy's objects


def encoded(kind, **options):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def png(width, height, depth=8, colours=2):
    header = struct.pack(">4sIIBBBBB", b"IHDR", width, height, depth, colours, 0, 0, 0)
    parts = (header, b"IDAT" + zlib.compress(bytes(64)), b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in parts
    )


IMAGES = {
    "png": encoded("PNG"),
    "jpg": encoded("JPEG"),
    "gif": encoded("GIF"),
    "bmp": encoded("BMP"),
    "webp": encoded("WEBP"),
    "ppm": encoded("PPM"),
    "tif": encoded("TIFF"),
    "tiff": encoded("TIFF", compression="tiff_deflate"),
}
OTHERS = [
    b"",
    b"a text\n",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n",
    b"P3 2 2 255\n1 2",
    b"P6 99999 99999 255\n",
    b"P6 2 2 65535\n" + bytes(24),
    b"BM" + struct.pack("<IIIIiiHHIIiiII", 80, 0, 54, 40, 30_000, -30_000, 1, 24, 0, 0, 0, 0, 0, 0),
    png(100_000, 100_000),
    png(9000, 9900),
    png(2**31 - 1, 1),
    png(0, 0),
    png(4, 4, 16, 0),
]
PLAIN = ["train", "Train", "training", "test", "val", "cat", "dog", "0", "1", "2", "10", "01",
         "images", "e\u0301", "\xe9"]  # fmt: skip
NAMES = 5 * PLAIN + [
    "new\nline", "bad\udcff", "\x1b[2J", ".hidden", "__MACOSX", "n" * 250]  # fmt: skip
FILES = [f"{stem}.{suffix}" for stem in ("a", "b", "\n", "\udcff") for suffix in IMAGES] + [
    "notes.txt", "c.heic", "c.PNG", ".d.png", "png"]  # fmt: skip


@contextmanager
def bounded(*places):
    """Little memory, nothing outside."""
    tracemalloc.start()
    try:
        with only_within(*places):
            yield
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()


def loaded(reference, *places, **arguments):
    """The data, checked, or None after one line."""
    with bounded(*places):
        try:
            data, line = load(str(reference), **arguments), None
        except RequestError as error:
            data, line = None, str(error)
    if data is None:
        assert line == printable(line)
        return None
    for split in filter(None, (data.train, data.test)):
        assert split.images.dtype == np.uint8
        assert split.images.shape == (len(split), *data.image_shape)
        assert split.labels.min() >= 0
        assert split.labels.max() < data.classes
    if data.class_names is not None:
        assert len({*data.class_names}) == data.classes
    return data


@pytest.fixture
def places(tmp_path):
    """A new folder for every case, kept from piling up."""
    counter = itertools.count()

    @contextmanager
    def place():
        path = tmp_path / str(next(counter))
        path.mkdir()
        yield path
        shutil.rmtree(path)

    return place


# ---- Folders ------------------------------------------------------------------------------------

CONTENTS = st.one_of(
    st.sampled_from([*IMAGES.values(), IMAGES["png"], IMAGES["png"]]),
    st.sampled_from(OTHERS),
    st.sampled_from(["pipe", "folder", "to itself", "to nothing", "to the folder above"]),
)
TREES = st.lists(
    st.tuples(
        st.lists(st.sampled_from(NAMES), min_size=0, max_size=4),
        st.sampled_from([*NAMES, *FILES, *FILES, *FILES]),
        CONTENTS,
    ),
    max_size=12,
)
SIZES = st.sampled_from([None, 1, 4])


def plant(root, tree):
    for folders, name, content in tree:
        path = root.joinpath(*folders, name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if content == "pipe":
                os.mkfifo(path)
            elif content == "folder":
                path.mkdir()
            elif isinstance(content, str):
                path.symlink_to({"to itself": path, "to nothing": "none"}.get(content, ".."))
            else:
                with path.open("xb") as file:  # never into a pipe that is there already
                    file.write(content)
        except OSError:  # where there is something else already
            continue


@CASES
def test_any_folder_gives_data_or_one_line(times, places):
    def check(case):
        with places() as root:
            plant(root, case[0])
            loaded(root, root, image_size=case[1])

    each(st.tuples(TREES, SIZES), 150 * times, check)


@CASES
def test_folders_of_images_of_any_arrangement_give_every_image_the_label_of_its_folder(
    times, places
):
    """Below, every file is a good image: the label is the class folder's, or there is one line."""
    paths = st.lists(st.sampled_from(PLAIN), min_size=1, max_size=3).map(tuple)

    def check(arranged):
        with places() as root:
            for number, folders in enumerate(arranged):
                path = root.joinpath(*folders, f"{number}.ppm")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"P5 1 1 255\n" + bytes([number]))
            data = loaded(root, root)
            for split in filter(None, (data and data.train, data and data.test)):
                for image, label in zip(split.images, split.labels, strict=True):
                    folders = arranged[image.item()]
                    folded = {name.replace("e\u0301", "\xe9") for name in folders}
                    assert data.class_names[label] in folded

    each(st.lists(paths, min_size=1, max_size=6, unique=True), 100 * times, check, seed=1)


# ---- Images -------------------------------------------------------------------------------------


@st.composite
def damaged(draw, contents):
    content = bytearray(draw(contents))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        part = draw(st.binary(max_size=4))
        kind = draw(st.sampled_from(["replace", "insert", "cut", "flip"]))
        if kind == "flip" and content:
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del content[place:]
        else:
            content[place : place + len(part) * (kind == "replace")] = part
    return bytes(content)


@CASES
def test_any_image_gives_pixels_or_one_line(times, places):
    geometries = [None, Geometry("shorter_side", 0.9, "area"), Geometry("squash", 1, "bicubic")]

    def check(case):
        content, suffix, size, geometry = case
        with places() as root:
            (root / "a").mkdir()
            (root / "a" / f"0.{suffix}").write_bytes(content)
            loaded(root, root, image_size=size, geometry=geometry)

    images = st.sampled_from([*IMAGES.values(), *OTHERS])
    suffixes, others = st.sampled_from([*IMAGES]), st.sampled_from(geometries)
    each(st.tuples(damaged(images), suffixes, SIZES, others), 100 * times, check, seed=2)


# ---- .npz ---------------------------------------------------------------------------------------

DTYPES = ["u1", "u1", "u1", "i8", "<i4", ">i2", "f4", "?", "S3", "U2", "m8[s]", "O", "c8"]
SHAPES = [(3, 2, 2, 1), (3, 2, 2, 1), (3,), (3,), (3, 1), (), (0,), (2, 2, 2, 3), (0, 2, 2, 1)]
ARRAYS = st.sampled_from(["images", "labels", "test_images", "test_labels", "class_names", "x\n"])


def array(dtype, shape, number):
    return np.full(shape, number).astype(dtype)


@CASES
def test_any_npz_gives_data_or_one_line(times, places):
    def check(case):
        with places() as root:
            kinds = {"images": ("u1", (3, 2, 2, 1), 1), "labels": ("i8", (3,), 0), **case[0]}
            stream = io.BytesIO()
            write = np.savez_compressed if case[1] else np.savez
            write(stream, **{name: array(*kind) for name, kind in kinds.items()})
            content = bytearray(stream.getvalue())
            for place, byte in case[2]:
                content[place % len(content)] = byte
            (root / "d.npz").write_bytes(content)
            loaded(root / "d.npz", root)

    numbers = st.sampled_from([0, 1, 1, 2, 255, -1, 2**40])
    kinds = st.tuples(st.sampled_from(DTYPES), st.sampled_from(SHAPES), numbers)
    changes = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=3)
    changes = st.one_of(st.just([]), changes)
    cases = st.tuples(st.dictionaries(ARRAYS, kinds, max_size=3), st.booleans(), changes)
    each(cases, 130 * times, check, seed=3)


# ---- The command --------------------------------------------------------------------------------


@CASES
def test_evaluate_tells_of_data_in_one_line(times, places, run, capsys):
    """What is refused before anything is computed."""

    def check(case):
        with places() as root:
            plant(root, case)
            capsys.readouterr()
            status = main(["evaluate", "--checkpoint", str(run), "--data", str(root), "--quiet"])
            err = capsys.readouterr().err
            assert (status, len(err.strip().splitlines())) == (2, 1), err
            assert err.startswith("error: ")

    bad = st.tuples(st.lists(st.sampled_from(NAMES), max_size=3), st.sampled_from(FILES), CONTENTS)
    each(st.lists(bad, max_size=4), 20 * times, check, seed=4)
