"""Folders of class folders."""

import struct
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from landscape.data import load
from landscape.data.resizing import Geometry, resized
from landscape.errors import OutOfMemory, RequestError

RNG = np.random.default_rng(0)


def picture(path, size=(4, 6), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    pixels = RNG.integers(0, 256, (*size, *channels), np.uint8)
    Image.fromarray(pixels, mode).save(path)
    return pixels


def test_classes_are_numbered_in_sorted_order_and_pixels_kept(tmp_path):
    dog = picture(tmp_path / "dog" / "1.png")
    cat = picture(tmp_path / "cat" / "b.png")
    data = load(str(tmp_path))
    assert data.class_names == ("cat", "dog")
    np.testing.assert_array_equal(data.train.images, [cat, dog])
    assert data.train.labels.tolist() == [0, 1]
    assert data.test is None


def test_numbered_classes_are_sorted_by_value(tmp_path):
    for name in ("0", "1", "2", "10"):
        picture(tmp_path / name / "x.png")
    assert load(str(tmp_path)).class_names == ("0", "1", "2", "10")


@pytest.mark.parametrize("test_name", ["test", "val"])
def test_train_and_test_folders_share_their_classes(tmp_path, test_name):
    picture(tmp_path / "train" / "a" / "1.png")
    picture(tmp_path / "train" / "b" / "1.png")
    picture(tmp_path / test_name / "b" / "2.png")
    data = load(str(tmp_path))
    assert data.test.labels.tolist() == [1]
    picture(tmp_path / test_name / "c" / "2.png")
    with pytest.raises(RequestError, match="no counterpart in train"):
        load(str(tmp_path))


def test_grey_images_have_one_channel_unless_mixed_with_colour(tmp_path):
    grey = picture(tmp_path / "a" / "1.png", mode="L")
    data = load(str(tmp_path))
    assert data.image_shape == (4, 6, 1)
    np.testing.assert_array_equal(data.train.images[0, :, :, 0], grey)
    picture(tmp_path / "a" / "2.png", mode="RGBA")
    assert load(str(tmp_path)).image_shape == (4, 6, 3)


def test_images_of_different_size_are_refused_and_can_be_resized(tmp_path):
    picture(tmp_path / "a" / "1.png")
    picture(tmp_path / "a" / "2.png", size=(5, 6))
    with pytest.raises(RequestError, match=r"2\.png has 6x5 pixels.*--image-size 4"):
        load(str(tmp_path))
    assert load(str(tmp_path), image_size=3).image_shape == (3, 3, 3)


def test_resizing_cuts_out_the_central_square(tmp_path):
    pixels = np.zeros((4, 12), np.uint8)
    pixels[:, 2:10] = 200
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a" / "1.png")
    assert (load(str(tmp_path), image_size=2).train.images == 200).all()


def test_folder_without_images_is_refused(tmp_path):
    with pytest.raises(RequestError, match="no images in"):
        load(str(tmp_path))
    picture(tmp_path / "1.png")
    with pytest.raises(RequestError, match="put them into class folders"):
        load(str(tmp_path))


def test_truncated_image_is_named(tmp_path):
    picture(tmp_path / "a" / "1.png", size=(64, 64))
    path = tmp_path / "a" / "2.png"
    picture(path, size=(64, 64))
    whole = path.read_bytes()
    for part in (len(whole) // 2, 20, 0):
        path.write_bytes(whole[:part])
        with pytest.raises(RequestError, match=r"2\.png cannot be read as an image"):
            load(str(tmp_path))


def test_sixteen_bit_image_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "a" / "1.png")
    with pytest.raises(RequestError, match="convert it to 8 bits"):
        load(str(tmp_path))


def test_geometry_says_how_images_are_resized(tmp_path):
    pixels = picture(tmp_path / "a" / "1.png", size=(8, 14))
    crop = Geometry("shorter_side", 0.875, "area")
    found = load(str(tmp_path), image_size=7, geometry=crop).train.images
    np.testing.assert_array_equal(found, [pixels[:7, 3:10]])
    for geometry in (crop, Geometry("squash", 1.0, "bicubic")):
        found = load(str(tmp_path), image_size=5, geometry=geometry).train.images
        np.testing.assert_array_equal(found, [resized(pixels, geometry, 5)])
    assert load(str(tmp_path), geometry=crop).image_shape == (8, 14, 3)


def test_without_geometry_the_central_square_is_taken_by_pillow(tmp_path):
    pixels = picture(tmp_path / "a" / "1.png", size=(9, 14))
    expected = ImageOps.fit(Image.fromarray(pixels), (5, 5), Image.Resampling.BILINEAR)
    found = load(str(tmp_path), image_size=5).train.images
    np.testing.assert_array_equal(found, np.asarray(expected)[None])


def test_images_are_taken_as_they_are_only_where_all_have_the_size(tmp_path):
    crop = Geometry("shorter_side", 0.875, "bicubic")
    first = picture(tmp_path / "train" / "a" / "1.png", size=(7, 7))
    other = picture(tmp_path / "val" / "a" / "2.png", size=(7, 7))
    data = load(str(tmp_path), image_size=7, geometry=crop)
    np.testing.assert_array_equal([*data.train.images, *data.test.images], [first, other])

    other = picture(tmp_path / "val" / "a" / "2.png", size=(7, 9))
    data = load(str(tmp_path), image_size=7, geometry=crop)
    found = [*data.train.images, *data.test.images]
    np.testing.assert_array_equal(found, [resized(x, crop, 7) for x in (first, other)])
    assert np.any(found[0] != first)


@pytest.mark.parametrize("name", ["test", "val"])
def test_a_test_split_alone_is_no_class(tmp_path, name):
    picture(tmp_path / name / "a" / "1.png")
    picture(tmp_path / name / "b" / "1.png")
    message = f"class folders in {name} but none in train; use .*{name} for its images alone"
    with pytest.raises(RequestError, match=message):
        load(str(tmp_path))
    (tmp_path / "train").mkdir()
    with pytest.raises(RequestError, match=message):
        load(str(tmp_path))
    assert load(str(tmp_path / name)).class_names == ("a", "b")


def test_classes_may_be_called_like_splits(tmp_path):
    for name in ("val", "vel"):
        picture(tmp_path / name / "1.png")
    assert load(str(tmp_path)).class_names == ("val", "vel")


def test_hidden_files_are_left_out(tmp_path):
    picture(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "._1.png").write_bytes(b"resource fork")
    assert len(load(str(tmp_path)).train) == 1


@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
def test_orientation_that_a_camera_noted_is_applied_to_tiff_alone(tmp_path, kind):
    """What `Image.open` of an open file gives, as torchvision's ImageFolder and timm call it."""
    path = tmp_path / "a" / f"1.{kind}"
    path.parent.mkdir()
    noted = Image.Exif()
    noted[0x0112] = 6  # turn by 90 degrees
    pixels = np.repeat(np.arange(0, 240, 40, dtype=np.uint8)[None], 4, 0)
    Image.fromarray(pixels).save(path, exif=noted)
    found = load(str(tmp_path)).train.images[0, ..., 0]
    with path.open("rb") as file:
        np.testing.assert_array_equal(found, Image.open(file).convert("L"))
    turned = np.rot90(pixels, -1) if kind == "tif" else pixels
    np.testing.assert_allclose(found, turned, atol=10)


def png_of(width, height):
    """A PNG that declares its size and holds nothing."""
    header = struct.pack(">4sIIBBBBB", b"IHDR", width, height, 8, 2, 0, 0, 0)
    chunks = (header, b"IDAT" + zlib.compress(b""), b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks
    )


@pytest.mark.parametrize(
    "size", [(10_000, 9000), (14_000, 14_000), (2**31 - 1, 2**31 - 1), (65_536, 1)]
)
def test_images_that_unpack_to_too_much_are_refused_in_one_line(tmp_path, size):
    """Pillow warns of the first, refuses the next two, and takes the last."""
    picture(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "2.png").write_bytes(png_of(*size))
    tracemalloc.start()
    with pytest.raises(RequestError, match=r"2\.png (has 10000x9000 pixels|has 65536x1|cannot)"):
        load(str(tmp_path), image_size=4)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


@pytest.mark.parametrize("size", [(2200, 2200), (4000, 4000)])
def test_more_pixels_than_a_file_can_hold_are_refused_before_memory_is_taken(tmp_path, size):
    path = tmp_path / "a" / "1.png"
    path.parent.mkdir()
    path.write_bytes(png_of(*size))
    tracemalloc.start()
    with pytest.raises(
        RequestError, match=f"{size[0]}x{size[1]} pixels in {len(path.read_bytes())} b"
    ):
        load(str(tmp_path))
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()
    Image.new("RGB", size).save(path)  # one colour, and yet there are enough bytes
    assert load(str(tmp_path), image_size=4).train.images.max() == 0


def test_warnings_of_the_decoder_are_not_shown(tmp_path, recwarn):
    (tmp_path / "a").mkdir()
    image = Image.fromarray(np.zeros((4, 4), np.uint8)).convert("P")
    image.save(tmp_path / "a" / "1.png", transparency=bytes(range(256)))
    image = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
    image.save(tmp_path / "a" / "2.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    assert load(str(tmp_path)).image_shape == (4, 4, 3)
    assert not recwarn.list


def test_no_program_is_run_for_an_image(tmp_path, monkeypatch):
    """PostScript, which Pillow hands to Ghostscript, told by its content whatever its name."""
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "1.png"
    path.write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n"
    )
    run = []
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *given, **_: run.append(given))
    with pytest.raises(RequestError, match=r"1\.png cannot be read as an image"):
        load(str(tmp_path), image_size=4)
    assert not run


@pytest.mark.parametrize("pixels", [0, -1, 65_536, 10**30])
def test_image_size_that_no_image_has_is_refused(tmp_path, pixels):
    picture(tmp_path / "a" / "1.png")
    with pytest.raises(RequestError, match=f"image_size: {pixels} pixels; give 1 to 65,535"):
        load(str(tmp_path), image_size=pixels)


def test_images_that_do_not_fit_into_memory_are_refused(tmp_path, monkeypatch):
    picture(tmp_path / "a" / "1.png")
    picture(tmp_path / "a" / "2.png")
    monkeypatch.setattr("landscape.data.image_folder.available_memory", lambda: 10_000)
    assert len(load(str(tmp_path)).train) == 2
    with pytest.raises(
        OutOfMemory, match=r"2 images of \(20, 20, 3\) need 1\.2e-05 GB, 1e-05 GB are"
    ):
        load(str(tmp_path), image_size=20)


def test_file_names_that_cannot_be_printed_are_escaped(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x\n\x1b[2J.png").write_bytes(b"")
    with pytest.raises(RequestError, match="cannot be read") as raised:
        load(str(tmp_path))
    assert str(raised.value).isprintable()


def test_a_damaged_tiff_is_told_in_one_line(tmp_path, capfd):
    """libtiff writes a line of its own to the process's standard error."""
    pixels = picture(tmp_path / "a" / "1.tif", size=(30, 30))
    path = tmp_path / "a" / "2.tif"
    Image.fromarray(pixels).save(path, compression="tiff_deflate")
    content = bytearray(path.read_bytes())
    content[500:600] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(RequestError, match=r"2\.tif cannot be read as an image"):
        load(str(tmp_path))
    print("after", file=sys.stderr)
    assert capfd.readouterr().err == "after\n"


def test_a_file_that_is_no_image_is_told_what_could_be_read(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"a text")
    with pytest.raises(RequestError, match="it is none of PNG, JPEG, BMP, GIF, WEBP, TIFF, PPM"):
        load(str(tmp_path))
