import pytest

from landscape import doctor, xla_flags
from landscape.doctor import Examination, Outcome

CONFIGURATION = {
    "landscape": "0.1.0", "jaxlib": "0.10.2", "platform": "cpu", "device": "cpu",
    "processor": "of the test", "flags": [], "x64": False,
}  # fmt: skip


def outcome(verdict, error, note=""):
    return Outcome("rows", "sums", "NumPy", "set the flag", error, 1e-4, verdict, note)


@pytest.mark.parametrize(
    ("verdict", "error", "status"), [("passed", 1e-7, 0), ("failed", 0.008, 1)]
)
def test_its_exit_status_says_whether_all_is_well(call, monkeypatch, verdict, error, status):
    found = Examination(CONFIGURATION, True, [outcome(verdict, error)], {})
    monkeypatch.setattr(doctor, "examine", lambda progress: found)
    told, data, _ = call("doctor")
    assert told == status
    assert data["passed"] == (status == 0)
    assert data["checks"][0]["error"] == error
    assert data["configuration"]["processor"] == "of the test"
    assert data["advice"][:1] == (["wrong: rows: set the flag"] if status else data["advice"][:1])


def test_people_read_what_is_wrong_and_what_to_do(capsys, monkeypatch):
    from landscape.cli import main

    checks = [outcome("failed", float("inf"), "the process ended with SIGSEGV")]
    found = Examination(CONFIGURATION, True, checks, {})
    monkeypatch.setattr(doctor, "examine", lambda progress: found)
    assert main(["doctor", "--quiet"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "rows (the process ended with SIGSEGV): set the flag" in shown
    assert "inf" in shown


def test_people_read_first_that_all_is_well(capsys, monkeypatch):
    from landscape.cli import main

    flags = {**CONFIGURATION, "flags": ["--xla_a=1", "--xla_b=2"]}
    found = Examination(flags, True, [outcome("passed", 1e-7)], {"rows": 712.3, "broadcast": 0.5})
    monkeypatch.setattr(doctor, "examine", lambda progress: found)
    assert main(["doctor", "--quiet"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith("All checks passed jaxlib 0.10.2 on cpu")
    assert "flags --xla_a=1 --xla_b=2, x64" in shown
    told = f"; landscape has set {xla_flags.FLAG}, with which every check passed. (Relative errors"
    assert f"{told} without it: rows 7e+02, broadcast 0.5.)" in shown


def test_its_help_is_of_this_command(capsys):
    from landscape.cli import main

    with pytest.raises(SystemExit):
        main(["doctor", "--help"])
    shown = capsys.readouterr().out
    assert "Also write the outcome as JSON into this file" in " ".join(shown.split())
    assert "run folder" not in shown


def test_a_backend_that_does_not_start_is_a_wrong_request(call, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_no_such_flag=1")
    status, _, err = call("doctor")
    assert status == 2
    assert "JAX does not start" in err
    assert "look at XLA_FLAGS" in err


@pytest.mark.slow
def test_all_is_well_here(call):
    status, data, _ = call("doctor")
    assert status == 0, data["advice"]
    assert data["known_bad"] == xla_flags.is_known_bad()
    assert {check["verdict"] for check in data["checks"]} == {"passed"}
