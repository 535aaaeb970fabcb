"""The self-test finds what is wrong, goes on behind a crash, and keeps its verdict."""

import json
import shutil
import sys
import warnings

import jax
import pytest

from landscape import doctor, xla_flags
from landscape.doctor import verdict

known_bad = pytest.mark.skipif(not xla_flags.is_known_bad(), reason="not known to be wrong")


@known_bad
def test_without_the_flag_it_finds_the_miscompiled_reductions(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS")
    monkeypatch.setenv(xla_flags.KEEP, "1")
    found = doctor.examine(["seven axes", "rows", "broadcast", "pool", "matrices"])
    failed = {outcome.name for outcome in found.failed}
    assert {"broadcast", "pool"} <= failed
    if xla_flags.jaxlib_version() == "0.10.2":
        assert failed == {"seven axes", "rows", "broadcast", "pool"}
        assert "SIGSEGV" in found.failed[0].note
    assert not found.passed
    assert f"XLA_FLAGS={xla_flags.FLAG}={xla_flags.VALUE}" in found.advice[0]
    assert "rows" in found.advice[0] or xla_flags.jaxlib_version() != "0.10.2"
    assert "known to compile reductions for CPUs wrongly" in found.advice[-1]


@known_bad
def test_with_the_flag_it_says_what_would_be_wrong_without():
    found = doctor.examine(["broadcast"])
    assert found.passed
    assert found.known_bad
    assert found.without_flag["broadcast"] > 1e-3
    assert (found.without_flag["rows"] > 1e-3) == (xla_flags.jaxlib_version() == "0.10.2")
    assert len(found.advice) == 1


def test_it_computes_in_the_precision_and_on_the_devices_of_the_session(x64, monkeypatch):
    monkeypatch.setattr(xla_flags, "KNOWN_BAD", ())  # one process less
    found = doctor.examine(["eager", "all devices"])
    assert found.configuration["x64"]
    assert [outcome.verdict for outcome in found.outcomes] == ["passed", "passed"]
    assert all(outcome.error <= outcome.allowed < 1e-12 for outcome in found.outcomes)
    alone = {**doctor._environment(), "JAX_NUM_CPU_DEVICES": "1"}
    monkeypatch.setattr(doctor, "_environment", lambda: alone)
    (alone,) = doctor.examine(["all devices"]).outcomes
    assert (alone.verdict, alone.note) == ("skipped", "there is one device")


def test_a_backend_that_does_not_start_is_told(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_no_such_flag=1")
    with pytest.raises(RuntimeError, match="Unknown flag"):
        doctor.examine(["rows"])


def test_a_check_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(doctor, "_LIMIT", 0.0)
    with pytest.raises(RuntimeError, match="SIGKILL"):
        doctor.examine(["rows"])


def test_checks_that_a_process_does_not_come_to_have_not_passed(monkeypatch):
    def said(process):
        yield {"configuration": verdict.configuration()}
        yield {"begin": "rows"}
        yield {"error": 0.0, "allowed": 1.0, "failure": ""}
        process.stdout.close()

    monkeypatch.setattr(doctor, "_said_by", said)
    monkeypatch.setattr(sys, "executable", shutil.which("true"))
    found = doctor.examine(["rows", "broadcast"])
    assert [outcome.verdict for outcome in found.outcomes] == ["passed", "failed"]
    assert "ended with exit status 0" in found.outcomes[1].note


class TestVerdict:
    """What results store."""

    @pytest.fixture(autouse=True)
    def _own_folder(self, monkeypatch, tmp_path):
        monkeypatch.setenv("LANDSCAPE_CACHE_DIR", str(tmp_path))
        jax.devices()  # before flags are set that XLA does not know
        verdict._quick_check.cache_clear()
        yield
        verdict._quick_check.cache_clear()

    def test_where_the_doctor_was_not_asked_two_programs_are_run_once(self, monkeypatch):
        runs = []
        monkeypatch.setattr("landscape.doctor.programs.wrong", lambda: runs.append(1) or [])
        for _ in range(2):
            found = verdict.backend()
        assert runs == [1]
        assert (found["verdict"], found["failed"], found["by"]) == ("passed", [], "quick check")
        assert found["flags"] == xla_flags.in_force()
        assert found["known_bad"] == xla_flags.is_known_bad()

    def test_no_folder_of_the_machine_is_stored(self, monkeypatch):
        monkeypatch.setattr("landscape.doctor.programs.wrong", lambda: [])
        monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/home/me --xla_another=1")
        assert verdict.backend()["flags"] == ["--xla_another=1", "--xla_dump_to=..."]

    def test_flags_in_a_file_are_stored_rather_than_its_place(self, monkeypatch, tmp_path):
        monkeypatch.setattr("landscape.doctor.programs.wrong", lambda: [])
        (tmp_path / "flags.txt").write_text("--xla_another=1\n")
        monkeypatch.setenv("XLA_FLAGS", str(tmp_path / "flags.txt"))
        assert verdict.backend()["flags"] == ["--xla_another=1"]
        monkeypatch.setenv("XLA_FLAGS", str(tmp_path / "none.txt"))
        assert verdict.backend()["flags"] == []

    def test_a_wrong_compiler_is_stored_and_told(self, monkeypatch):
        monkeypatch.setattr("landscape.doctor.programs.wrong", lambda: ["jax issue 39103"])
        with pytest.warns(UserWarning, match="computes wrongly here .*39103.* doctor"):
            found = verdict.backend()
        assert (found["verdict"], found["failed"]) == ("failed", ["jax issue 39103"])

    def test_the_verdict_holds_for_its_configuration_only(self, monkeypatch):
        monkeypatch.setattr("landscape.doctor.programs.wrong", lambda: [])
        verdict.store(verdict.configuration(), [])
        assert verdict.backend()["by"] == "doctor"
        assert "examined" in verdict.backend()
        monkeypatch.setenv("XLA_FLAGS", "--another_flag")
        assert verdict.backend()["by"] == "quick check"

    def test_the_precision_of_products_belongs_to_the_configuration(self, monkeypatch):
        monkeypatch.setattr("landscape.doctor.programs.wrong", lambda: [])
        verdict.store(verdict.configuration(), [])
        with jax.default_matmul_precision("bfloat16"):
            assert verdict.backend()["by"] == "quick check"
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
        assert verdict.backend()["by"] == "quick check"

    def test_what_computes_wrongly_now_outweighs_a_verdict_of_before(self, monkeypatch):
        """Flags that were set after the backend had started look as if they were in force."""
        verdict.store(verdict.configuration(), [])
        monkeypatch.setattr("landscape.doctor.programs.wrong", lambda: ["jax issue 39103"])
        with pytest.warns(UserWarning, match="39103"):
            assert verdict.backend()["verdict"] == "failed"

    def test_the_last_verdict_counts(self):
        verdict.store(verdict.configuration(), ["rows"])
        with pytest.warns(UserWarning, match="rows"):
            assert verdict.backend()["failed"] == ["rows"]
        verdict.store(verdict.configuration(), [])
        with warnings.catch_warnings(action="error"):
            assert verdict.backend()["verdict"] == "passed"

    @pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"by": "doctor"}]'])
    def test_a_damaged_file_counts_for_nothing(self, monkeypatch, tmp_path, content):
        monkeypatch.setattr("landscape.doctor.programs.wrong", lambda: [])
        (tmp_path / "doctor.json").write_text(content)
        assert verdict.backend()["by"] == "quick check"
        verdict.store(verdict.configuration(), [])
        assert len(json.loads((tmp_path / "doctor.json").read_text())) == 1
