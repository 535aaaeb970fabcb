"""Configurations, TOML files and command lines that are made up: one line or a proper request."""

import dataclasses
import importlib
import json
import shutil
import string

import pytest
from hostile import CASES, MARK, asked, each, only_within
from hypothesis import strategies as st

import landscape.report  # noqa: F401, now, since matplotlib makes a folder of its own
from landscape.checkpoints import native
from landscape.cli import COMMANDS, common, outputs, subject
from landscape.errors import RequestError

CODE = f"raise SystemExit({MARK!r})\n"
NUMBERS = st.sampled_from([0, 1, -1, 3, 2**31, 2**63, -(2**63), 10**30, 0.5, 1e308, -0.0, 1e-320])
NAMES = st.sampled_from([
    "", ".", "..", "/", "/dev/null", "/dev/zero", "a", "a.h5", "a.png", "a.npz", "weights.npz",
    "own.py", "own.py:make", "folder", "folder@3", "folder@99999999999999999999", "run.json",
    "digits", "none", "None", "random", "eigenvector:1", "pca:0", "to:weights.npz", "file:a.h5",
    "file:/dev/zero", "json:dumps", "os:getcwd", "x" * 300, "x" * 5000, "\x1b[2J", "[red]",
    "\u202e", "a\nb", "\udcff", "\u0663", "a\0b", "--seed", "-1", "1x1", "1e400", "nan", "-inf",
    "(", "ViT-Mini/2",
])  # fmt: skip
TEXT = st.one_of(NAMES, st.text(max_size=20))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.floats(), st.integers(), TEXT),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXT, inside, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory, run):
    """A folder to work in: a run, code that must not run, a damaged file of weights."""
    folder = tmp_path_factory.mktemp("hostile")
    shutil.copytree(run, folder / "folder")
    (folder / "own.py").write_text(CODE)
    (folder / "weights.npz").write_bytes(b"PK\x03\x04")
    return folder


@pytest.fixture
def inside(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def outcome(function, *arguments):
    """What is returned, and the one line of a refusal."""
    try:
        return function(*arguments), ""
    except RequestError as error:
        told = str(error)
    assert "\n" not in told
    assert len(told) < 6000  # the longest name above
    return None, told


# --- configurations -------------------------------------------------------------------------------

PARTS = [
    (), ("schema",), ("steps",), ("training",), ("model",), ("data",), ("preprocessing",),
    ("class_names",), ("data", "reference"), ("data", "holdout"), ("data", "seed"),
    ("data", "image_size"), ("data", "class_names"), ("data", "train_hash"),
    ("data", "test_examples"), ("model", "name"), ("model", "classes"), ("model", "image_shape"),
    ("model", "shape"), ("model", "activation"), ("model", "dropout"),
]  # fmt: skip
CHANGES = st.lists(st.tuples(st.sampled_from(PARTS), JSON), min_size=1, max_size=2)


def changed(config, changes):
    config = json.loads(config)
    for path, value in changes:
        if not path:
            config = value
            continue
        parent = config
        for name in path[:-1]:
            parent = parent.get(name) if isinstance(parent, dict) else None
        if isinstance(parent, dict):
            parent[path[-1]] = value
    return json.dumps(config)


@CASES
def test_any_configuration_is_read_or_told_in_one_line(times, inside, run):
    whole = (run / "config.json").read_text()
    options = subject.Subject(checkpoint="folder")

    def check(changes):
        (inside / "folder" / "config.json").write_text(changed(whole, changes))
        with only_within(inside):
            _, told = outcome(subject.load, options)
        assert MARK not in told

    each(CHANGES, 100 * times, check)
    (inside / "folder" / "config.json").write_text(whole)


@CASES
def test_any_bytes_as_a_configuration_are_read_or_told(times, inside, tmp_path):
    def check(content):
        (tmp_path / "config.json").write_bytes(content)
        found, told = outcome(native.read_config, tmp_path)
        assert told or isinstance(found, dict)

    brackets = st.text('{}[]":,0123456789eE.-NaInfity"datreferncsm', max_size=60).map(str.encode)
    each(
        st.binary(max_size=60) | brackets | JSON.map(json.dumps).map(str.encode), 60 * times, check
    )


# --- files of options -----------------------------------------------------------------------------

MODULES = {name: importlib.import_module(f"landscape.cli.{name}") for name in COMMANDS}
FIELDS = sorted({field.name for m in MODULES.values() for field in dataclasses.fields(m.Options)})
FIELDS.remove("debug")


def quoted(text):
    return json.dumps(text.encode(errors="replace").decode())


VALUES = st.one_of(
    TEXT.map(quoted),
    NUMBERS.map(str),
    st.lists(TEXT.map(quoted), max_size=2).map(lambda parts: f"[{', '.join(parts)}]"),
    st.sampled_from([
        "true", "nan", "-inf", "1979-05-27", "07:32:00", "{a = 1}", "[[1]]", "0x" + "f" * 5000,
        "9" * 5000, "1e999", "''''", "[" * 2000, "\u0663", "'own.py:make'", "'folder'",
    ]),
)  # fmt: skip
LINES = st.lists(st.tuples(st.sampled_from([*FIELDS, "a.b", "[out]"]), VALUES), max_size=4)
FILES = st.one_of(
    LINES.map(lambda lines: "\n".join(f"{n} = {v}" for n, v in lines).encode(errors="replace")),
    st.text(string.printable, max_size=40).map(str.encode),
    st.binary(max_size=40),
)


@CASES
def test_any_file_of_options_gives_options_or_one_line(times, inside, capsys):
    def check(case):
        command, content, flags = case
        (inside / "options.toml").write_bytes(content)
        arguments = ["--config", "options.toml", *flags]
        options = MODULES[command].Options
        with only_within(inside):
            found, told = outcome(common.parse, options, command, "command", arguments)
            if told or outcome(outputs.check, command, found)[1]:
                return
        assert isinstance(found, options)
        if "--objective" not in flags:
            assert getattr(found, "objective", None) is None

    flags = st.sampled_from([(), ("--seed", "3"), ("--out", "a.h5"), ("--data", "digits")])
    each(st.tuples(st.sampled_from(sorted(COMMANDS)), FILES, flags), 140 * times, check)


# --- command lines --------------------------------------------------------------------------------

FLAGS = st.sampled_from([f"--{name.replace('_', '-')}" for name in FIELDS])
WORDS = st.one_of(TEXT, NUMBERS.map(str)).filter(lambda word: word not in ("-h", "--help"))
PIECES = st.one_of(
    st.tuples(FLAGS, WORDS),
    st.tuples(FLAGS, WORDS).map(lambda pair: ("=".join(pair),)),
    FLAGS.map(lambda flag: (flag,)),
    WORDS.map(lambda word: (word,)),
)
LISTS = st.lists(PIECES, max_size=4).map(lambda pieces: [word for p in pieces for word in p])


@CASES
def test_any_command_line_is_carried_out_or_told_in_one_line(times, inside, capsys, monkeypatch):
    for module in MODULES.values():
        done = common.Outcome({}, lambda console: console.print("done"))
        monkeypatch.setattr(module, "execute", lambda options, done=done: done)

    def check(case):
        command, arguments = case
        asked([command, *arguments], capsys, inside)

    names = st.sampled_from(sorted(COMMANDS)) | TEXT.filter(lambda t: not t.startswith("-") and t)
    each(st.tuples(names, LISTS), 160 * times, check)


REFUSED = ("evaluate", "hessian", "surface", "ntk", "neurons", "inspect", "convert", "report")


@CASES
def test_commands_without_a_checkpoint_that_can_be_read_end_in_one_line(times, inside, capsys):
    def check(case):
        command, name, more = case
        named = [name] if command in ("inspect", "convert", "report") else ["--checkpoint", name]
        assert asked([command, *named, *more], capsys, inside) == 2

    names = NAMES.filter(lambda name: not name.startswith(("folder", "-", ".", "/")) and name)
    each(st.tuples(st.sampled_from(REFUSED), names, LISTS), 40 * times, check)
