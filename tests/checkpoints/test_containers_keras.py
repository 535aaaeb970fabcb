"""Keras's files: told from others, and what to do with them."""

import zipfile

import h5py
import numpy as np
import pytest
from container_files import ARRAYS, WRITERS

from landscape.checkpoints.containers import keras, opened
from landscape.errors import RequestError
from landscape.results import Field, ResultFile, provenance


def refused(path, message):
    assert keras.recognises(path)
    with pytest.raises(RequestError, match=message) as told:
        opened(path)
    assert "\n" not in str(told.value)


def test_weights_in_hdf5_are_told_what_to_do(tmp_path):
    with h5py.File(tmp_path / "weights.npz", "w") as file:
        file.attrs["keras_version"] = "3.0"
        file["dense/kernel"] = np.ones((2, 3))
    refused(tmp_path / "weights.npz", r"is an HDF5 file, which is not read; load it in Keras")


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_keras_archives_are_told_what_to_do(tmp_path, packing):
    with zipfile.ZipFile(tmp_path / "model", "w", packing) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", "{}" * 1000)
        archive.writestr("model.weights.h5", bytes(5000))
    refused(tmp_path / "model", r"is a \.keras archive, which is not read; .* numpy\.savez")


def test_a_result_file_is_told_to_be_one(tmp_path):
    fields = {"values": Field((100, 100))}
    origin = provenance(config={"long": "x" * 5000})
    request = {"checkpoint": "run"}
    with ResultFile(
        tmp_path / "a.h5", "hessian", request=request, fields=fields, done=(100,), origin=origin
    ):
        pass
    refused(tmp_path / "a.h5", "is a result file, it holds no parameters")


@pytest.mark.parametrize("write", WRITERS)
def test_other_files_are_not_taken_for_one(tmp_path, write):
    write(tmp_path / "a", ARRAYS)
    assert not keras.recognises(tmp_path / "a")
