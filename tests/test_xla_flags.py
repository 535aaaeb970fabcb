"""The flag reaches XLA before its backend starts; each case is a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from landscape import xla_flags

MENDED = f"{xla_flags.FLAG}={xla_flags.VALUE}"
SHOW = "import os, landscape; print(os.environ.get('XLA_FLAGS'))"

bad = pytest.mark.skipif(
    not xla_flags.is_known_bad(), reason="this version of jaxlib is not known to be wrong"
)


def python(code, **environment):
    """What a fresh interpreter prints; warnings are on its standard error."""
    clean = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", xla_flags.KEEP)}
    clean |= {"PYTHONPATH": str(Path(__file__).parents[1]), **environment}
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=clean
    )
    return process.stdout.strip(), process.stderr


def appended(version, monkeypatch, **environment):
    """``XLA_FLAGS`` after importing the package with this version of jaxlib."""
    for name in ("XLA_FLAGS", xla_flags.KEEP):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(xla_flags, "jaxlib_version", lambda: version)
    monkeypatch.setattr(xla_flags, "_backend_runs", lambda: False)
    xla_flags.append_needed_flag()
    xla_flags.append_needed_flag()  # child processes inherit the environment and do it again
    return os.environ.get("XLA_FLAGS")


@pytest.mark.parametrize("version", xla_flags.KNOWN_BAD)
def test_versions_known_to_be_wrong_get_the_flag_once(monkeypatch, version):
    assert appended(version, monkeypatch) == MENDED


@pytest.mark.parametrize("version", ["0.8.0", "0.9.2", "0.10.1", "0.99.0", ""])
def test_versions_that_were_not_tried_or_are_right_get_no_flag(monkeypatch, version):
    assert appended(version, monkeypatch) is None


def test_what_the_user_set_stays(monkeypatch):
    others = "--xla_force_host_platform_device_count=3"
    assert appended("0.10.2", monkeypatch, XLA_FLAGS=others) == f"{others} {MENDED}"
    own = f"{xla_flags.FLAG}=individual_dot"
    assert appended("0.10.2", monkeypatch, XLA_FLAGS=own) == own
    assert appended("0.10.2", monkeypatch, **{xla_flags.KEEP: "1"}) is None


def test_a_file_of_flags_is_not_appended_to(monkeypatch):
    with pytest.warns(UserWarning, match=r"names the file flags\.txt; add --xla"):
        assert appended("0.10.2", monkeypatch, XLA_FLAGS="flags.txt") == "flags.txt"


def test_a_file_that_has_the_flag_is_read(monkeypatch, tmp_path):
    file = tmp_path / "flags.txt"
    file.write_text(f"--xla_dump_max_hlo_modules=3\n{MENDED}\n")
    assert appended("0.10.2", monkeypatch, XLA_FLAGS=str(file)) == str(file)
    assert xla_flags.in_force() == [MENDED, "--xla_dump_max_hlo_modules=3"]


def test_no_flag_where_jax_may_not_compute_on_a_cpu(monkeypatch):
    monkeypatch.delitem(sys.modules, "jax")
    assert appended("0.10.2", monkeypatch, JAX_PLATFORMS="cuda") is None
    assert appended("0.10.2", monkeypatch, JAX_PLATFORMS="cuda,cpu") == MENDED


@bad
def test_importing_the_package_sets_the_flag_without_starting_jax():
    code = "import sys; import landscape; assert 'jax' not in sys.modules; "
    assert python(code + SHOW) == (MENDED, "")
    assert python("import jax; " + SHOW) == (MENDED, "")


@bad
def test_a_warning_says_what_to_do_where_the_backend_runs_already():
    out, err = python("import jax; jax.devices(); " + SHOW, JAX_PLATFORMS="cpu")
    assert out == "None"
    assert err.count("UserWarning") == 1
    assert f"import landscape before the first computation, or set XLA_FLAGS={MENDED}" in err


RUNNING = f"""
import os, jax
jax.devices()
os.environ["XLA_FLAGS"] = os.environ["LATER"]
import landscape
from landscape import xla_flags
from landscape.doctor import programs, verdict
flags = xla_flags.in_force()
xla_flags.in_force = lambda: ["{MENDED}"]
there = verdict.configuration()
verdict.store(there, [])  # what doctor says of a process that starts with the flag
xla_flags.in_force = lambda: flags
print(flags, verdict.backend()["verdict"], verdict.backend()["by"])
"""


@bad
@pytest.mark.parametrize(
    ("before", "later", "expected", "warned"),
    [
        ("", MENDED, "[] failed quick check", True),
        (MENDED, MENDED, f"['{MENDED}'] passed doctor", False),
    ],
)
def test_a_flag_counts_from_when_it_was_set(tmp_path, before, later, expected, warned):
    """XLA read its flags when the backend started; what is set afterwards only looks in force."""
    environment = {"XLA_FLAGS": before, "LATER": later, "LANDSCAPE_CACHE_DIR": str(tmp_path)}
    out, err = python(RUNNING, JAX_PLATFORMS="cpu", **environment)
    assert out == expected
    assert ("import landscape before the first computation" in err) == warned
    assert ("computes wrongly here" in err) == warned


def test_the_tests_run_at_the_optimisation_level_of_users():
    assert not any("optimization_level" in flag for flag in xla_flags.in_force())
    assert not xla_flags.is_known_bad() or MENDED in xla_flags.in_force()
