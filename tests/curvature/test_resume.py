"""A search that was killed goes on in another session: on other devices, under another version."""

import jax.numpy as jnp
import numpy as np
import pytest
from spectra import rotated

from landscape import Objective, results
from landscape.curvature import extremes
from landscape.devices import data_mesh
from landscape.journal import Journal

SPECTRUM = np.r_[np.linspace(-1, 4, 60), 9.0]
MATRIX = jnp.asarray(rotated(SPECTRUM, dtype=np.float32))


def loss(w, batch):
    """Examples differ, so that devices add up other numbers in another order."""
    return 0.5 * jnp.vdot(w, MATRIX @ w) * batch


def on(devices):
    shares = np.linspace(0.5, 1.5, 16, dtype=np.float32)
    return Objective(loss, jnp.ones(61), [shares], mesh=data_mesh(devices))


class Killed(Exception):
    pass


@pytest.mark.parametrize(("before", "after"), [(1, 8), (8, 2)])
def test_a_search_goes_on_on_another_number_of_devices(tmp_path, monkeypatch, before, after):
    monkeypatch.setattr(Journal, "SHARE", np.inf)  # keep every state
    steps = []
    undisturbed = extremes(on(before), vectors=True, progress=lambda *_: steps.append(1))
    half = len(steps) // 2
    steps.clear()

    def die(*_):
        steps.append(1)
        if len(steps) == half:
            raise Killed

    request = {"seed": 0}
    with pytest.raises(Killed):
        extremes(on(before), progress=die, journal=Journal.of_request(tmp_path, request))
    steps.clear()
    found = extremes(
        on(after),
        vectors=True,
        progress=lambda *_: steps.append(1),
        journal=Journal.of_request(tmp_path, request),
    )
    assert len(steps) <= half + 2  # what was done is not done again
    for end, true in ((found.lambda_max, 9.0), (found.lambda_min, -1.0)):
        assert end.converged
        assert end.lower <= true <= end.upper
    assert found.lambda_max.estimate == pytest.approx(undisturbed.lambda_max.estimate, rel=1e-5)
    vector = found.vectors["lambda_max"]
    assert float(vector @ (MATRIX @ vector)) == pytest.approx(found.lambda_max.estimate, rel=1e-4)


def test_a_file_of_another_version_goes_on_and_says_so(tmp_path, monkeypatch):
    def session(version):
        origin = results.provenance()
        origin["versions"]["jax"] = version
        return results.ResultFile(
            tmp_path / "h.h5",
            "hessian",
            request={"seed": 0},
            fields={"value": results.Field((2,))},
            done=(2,),
            origin=origin,
        )

    for index, version in enumerate(("0.10.2", "0.12.0")):
        with session(version) as file:
            file.write(index, value=float(index))
    stored = results.read(tmp_path / "h.h5")
    assert stored.complete
    assert stored.attributes["versions"]["jax"] == "0.10.2"
    (resumed,) = stored.attributes["resumed_with"]
    assert resumed["versions"]["jax"] == "0.12.0"
    assert resumed.keys() == {"since", "versions"}
