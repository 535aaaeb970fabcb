"""TOML files, values that no option takes, and names that are printed as they are."""

import dataclasses
import os
import time

import pytest
from rich.text import Text

from landscape.cli import common, main, settings
from landscape.cli.evaluate import Options as Evaluate
from landscape.cli.surface import Options as Surface
from landscape.errors import RequestError


@pytest.fixture
def told(tmp_path):
    """The one line for a TOML file of this content."""

    def line(content, *flags, options=Surface):
        path = tmp_path / "options.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(RequestError) as caught:
            common.parse(options, "surface", "Losses", ["--config", str(path), *flags])
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400
        return str(caught.value)

    return line


CODE = "raise SystemExit('this must never run')\ndef make(): pass\n"


@pytest.mark.parametrize("option", ["objective", "data"])
@pytest.mark.parametrize("command", ["evaluate", "surface"])
def test_a_function_that_a_file_names_is_not_called(tmp_path, capsys, command, option):
    (tmp_path / "own.py").write_text(CODE)
    reference = f"{tmp_path / 'own.py'}:make"
    (tmp_path / "a.toml").write_text(f"{option} = {reference!r}\n")
    assert main([command, "--config", str(tmp_path / "a.toml")]) == 2
    err = capsys.readouterr().err
    assert "which is code" in err
    assert f"--{option} {reference[:20]}" in err


def test_what_a_flag_overrides_may_stand_in_a_file(tmp_path):
    (tmp_path / "a.toml").write_text("objective = 'own.py:make'\ndata = 'module:function'\n")
    flags = ["--config", str(tmp_path / "a.toml"), "--data", "digits", "--objective", "other.py:f"]
    found = common.parse(Surface, "surface", "Losses", flags)
    assert (found.data, found.objective) == ("digits", "other.py:f")


def test_a_folder_with_a_colon_is_no_function(tmp_path):
    (tmp_path / "a:b").mkdir()
    (tmp_path / "a.toml").write_text(f"data = '{tmp_path}/a:b'\n")
    found = common.parse(Surface, "surface", "Losses", ["--config", str(tmp_path / "a.toml")])
    assert found.data == f"{tmp_path}/a:b"


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("l2 = nan", "l2: found nan; give a finite number"),
        ("l2 = -inf", "l2: found -inf"),
        ("l2 = 1e999", "l2: found inf"),
        ("l2 = 1979-05-27", "l2 is datetime.date(1979, 5, 27), not a number"),
        ("l2 = [1]", "l2 is [1], not a number"),
        ("l2 = true", "l2 is True, not a number"),
        ("l2 = " + "9" * 400, "l2 is 999"),
        ("seed = -1", "seed: found -1; give a number from 0"),
        ("seed = 4294967296", "seed: found 4294967296"),
        ("devices = 0", "devices: found 0; give 1 or more"),
        ("images = 0x" + "f" * 40, "images: found"),
        ("images = 0x" + "f" * 20_000, "images: found a number of thousands of digits"),
        ("images = " + "9" * 20_000, "is no TOML file"),
        ("export = [1]", "export is 1, not text in quotes"),
        ("export = ['a.obj', ['b.obj']]", "export is ['b.obj'], not text in quotes"),
        ("export = 'a.obj'", "export is 'a.obj', not"),
        ("out = {a = 1}", "out is {'a': 1}, not text in quotes"),
        ("[out]\na = 1", "out is {'a': 1}, not text in quotes"),
        ("seed = 1\nseed = 2", "is no TOML file"),
        ("gradient_norm = true\ngradient-norm = false", "twice, with - and _; set it once"),
        ("spread = 'everything'", "use one of points, images"),
        ("spread = 1", "use one of points, images"),
        ("config = 'b.toml'", "sets 'config', which is no option here"),
        ('out = "a\\u0000b"', "out: 'a\\x00b' has characters that no name has"),
        ('"\\u001b[31m" = 1', "which is no option here"),
        ("k" * 10_000 + " = 1", "which is no option here"),
        ("a = " + "[" * 10_000, "is no TOML file"),
        (b"out = '\xff'", "is no TOML file"),
        (b"\xef\xbb\xbfseed = 1", "is no TOML file"),
        ("# " + "x" * 70_000, "longer or more nested"),
        ("[" + "a." * 16_000 + "a]\n" + "k=1\n" * 8_000, "longer or more nested"),
    ],
)
def test_what_no_option_takes_is_told_in_one_line(told, content, part):
    start = time.monotonic()
    assert part in told(content)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_read(tmp_path, capsys, make):
    make(tmp_path / "a.toml")
    assert main(["evaluate", "--config", str(tmp_path / "a.toml")]) == 2
    assert "a.toml is no file" in capsys.readouterr().err


def test_two_files_of_options_are_refused(tmp_path, capsys):
    (tmp_path / "a.toml").write_text("seed = 1\n")
    name = str(tmp_path / "a.toml")
    assert main(["evaluate", "--config", name, f"--config={name}"]) == 2
    assert "config: given more than once" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e400"])
@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("evaluate", "l2"), ("hessian", "l2"), ("hessian", "width"), ("hessian", "confidence"),
        ("surface", "rho"), ("surface", "adaptive"), ("surface", "lambda-max"),
        ("surface", "vmax"), ("train", "rho"), ("train", "learning-rate"), ("train", "clip"),
        ("train", "epochs"), ("train", "holdout"), ("train", "dropout"),
    ],
)  # fmt: skip
def test_no_option_takes_a_number_that_is_not_finite(tmp_path, capsys, command, option, value):
    out = ("--out", str(tmp_path / "x"))
    assert main([command, f"--{option}={value}", *out]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {option.replace('-', '_')}: ")
    assert f" {float(value)}" in err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--seed=-1",), "seed: found -1"),
        (("--seed", "4294967296"), "seed: found 4294967296"),
        (("--seed", "9" * 4000), "seed: found 99"),
        (("--devices", "0"), "devices: found 0"),
        (("--devices=-3",), "devices: found -3"),
        (("--images", "9" * 30), "images: found 99"),
        (("--checkpoint", "a\0b"), "checkpoint: 'a\\x00b' has characters"),
        (("--checkpoint", "a\ud800b"), "checkpoint: 'a\\ud800b' has characters"),
        (("--checkpoint", "x" * 5000), "x cannot be read (File name too long)"),
        (("--checkpoint", "\x1b[2J"), "\\x1b[2J"),
    ],
)
def test_what_cannot_be_meant_is_told_in_one_line(capsys, arguments, part):
    assert main(["evaluate", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert len(err) < 1100
    assert part in err


def test_defaults_of_every_command_are_accepted():
    for options in (Evaluate(), Surface()):
        settings.check(options)
        assert dataclasses.is_dataclass(options)


@pytest.mark.parametrize("name", ["[bold]a[/bold]", "[/]", "[link=http://x]a", ":smile:", "[red]"])
def test_names_are_printed_as_they_are(capsys, name):
    def show(console):
        console.print(name)
        console.print(common.grid(name, (name, "b"), [[name, name]]))
        console.print(Text(name))

    common.show(common.Outcome({}, show), common.Common())
    assert capsys.readouterr().out.count(name) == 6


def test_what_cannot_be_seen_is_printed_as_an_escape(capsys):
    names = {
        "\x1b[31mred": r"\x1b[31mred",
        "a\u202eb": r"a\u202eb",
        "\udcff": r"\xff",
        "\x07": r"\x07",
    }

    def show(console):
        console.print(common.grid("names", ("a", "b"), [list(pair) for pair in names.items()]))
        console.print(Text("\x1b]0;title"))

    common.show(common.Outcome({}, show), common.Common())
    out = capsys.readouterr().out
    for name, shown in names.items():
        assert name not in out
        assert out.count(shown) == 2
    assert r"\x1b]0;title" in out
