"""Run folders damaged at random: the page is written, names what is wrong, and says what is so."""

import json
import os
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import synthetic_runs as made
from hostile import CASES, each, only_within
from hypothesis import strategies as st
from report_page import Page, without_drawing

from landscape import report
from landscape.errors import RequestError
from landscape.report import validation

GRID = np.linspace(-1, 1, 5)
JUNK = (
    "text",
    "",
    -1,
    -0.5,
    1e999,
    10**400,
    [],
    [1],
    {},
    {"a": []},
    True,
    None,
    3.5,
    "[",
    "\udcff",
)
NAMES = ("ViT-Mini/2", "$x$", r"$^_\$", "_x", "<b>&\"'", "a\nb", "\u202eab", "n" * 300, "\ud800",
         "[red]", "", " ", "3")  # fmt: skip
FOLDERS = (b"run", b"\xff\xfe", b"$^_$", b"<i>&", b"a\nb", b"r" * 200, "\u202eab".encode())

# What is wrong wherever it stands, and whether the page must name it.
WRONG_CONFIG = {
    "steps": ("many", -3, 1.5, 10**400), "model": ([], "ViT", None, 3), "data": ("digits", [1]),
    "training": ([], "sam"), "versions": ([], 3), "model.name": (3, ["ViT"], {}),
    "data.test_examples": (0, -4, "360", 10**400, 2.5), "data.reference": (7, []),
    "training.rho": ("x", -1, 10**400, [0.1]),
}  # fmt: skip
WRONG_LINE = {
    "step": (-1, 1.5, "1", [], 10**400), "epoch": ("x", -1, {}, 10**400),
    "train_loss": ("NaN", [1], {}, 10**400, True),
    "test_accuracy": (99.0, -0.1, "0.9", [], 10**400),
}  # fmt: skip
WRONG_ATTRIBUTE = {
    "hessian": {"loss": "low", "norm": -2.0, "l2": [1], "confidence": 5.0, "examples": "all",
                "checkpoint_step": 1.5, "parameters_hash": [1], "matrix": [2], "data": 3,
                "resumed_with": ["x"], "dtype": {"a": 1}, "accuracy": 97.0, "at_chance": "no"},
    "surface": {"metrics": "train_loss", "directions": "x", "cosine": "0", "length_x": [1],
                "normalization": 3, "examples": 0, "backend": 4},
    "ntk": {"head": 3, "epsilon": 0.0, "batch_size": -1, "activation": [1]},
    "neurons": {"data": [1], "examples": 1e30, "parameters_hash": {"a": "b"}},
}  # fmt: skip
NEEDED = {"hessian": ("done", "targets"), "surface": ("done", "xcoordinates", "ycoordinates"),
          "ntk": ("done", "eigenvalues"), "neurons": ("done", "layers")}  # fmt: skip
SHOWN = {"hessian": ("parameters", "products", "lambda_max_estimate", "lambda_min_upper"),
         "surface": ("train_loss", "interpolated"), "ntk": ("eigenvalues_of_two",),
         "neurons": ("active_fraction", "standard_error", "norm")}  # fmt: skip
EXTREME = (np.nan, np.inf, -np.inf, 1e300, -1e300, 1e-320, -1.0, 0.0, 2.0, 1e99)

# Other requests than the usual one, which the captions must tell.
SAID = st.fixed_dictionaries({}, optional={
    "examples": st.integers(1, 5000), "l2": st.sampled_from((0.5, 5.0)),
    "checkpoint_step": st.sampled_from((3, 300, -1)), "loss_name": st.just("sigmoid"),
    "data": st.sampled_from(({"split": "test"}, {"split": "train"}, "my own", {"split": "<x>"})),
})  # fmt: skip
PLANES = st.sampled_from(("random", "gradient", "sam", "eigenvector:1", "to:<x>"))


@st.composite
def damages(draw):
    """One damage: what it is done to, how, and the word that the page must contain, or none."""
    sort = draw(st.sampled_from(("config", "log", "attribute", "dataset", "values", "bytes")))
    if sort == "config":
        name = draw(st.sampled_from(sorted(WRONG_CONFIG)))
        return sort, name, draw(st.sampled_from(WRONG_CONFIG[name])), f"config.json: {name} "
    if sort == "log":
        name = draw(st.sampled_from(sorted(WRONG_LINE)))
        value = draw(st.sampled_from(WRONG_LINE[name]))
        return sort, (name, draw(st.integers(0, 9))), value, f": {name} is "
    kind = draw(st.sampled_from(sorted(NEEDED)))
    if sort == "attribute":
        name = draw(st.sampled_from(sorted(WRONG_ATTRIBUTE[kind])))
        return sort, (kind, name), WRONG_ATTRIBUTE[kind][name], name
    if sort == "dataset":
        name = draw(st.sampled_from((*NEEDED[kind], *SHOWN[kind])))
        how = draw(st.sampled_from(("gone", "longer", "text", "flat")))
        optional = how == "gone" and name in ("interpolated", "eigenvalues_of_two")
        return sort, (kind, name), how, None if optional else name
    if sort == "values":
        name = draw(st.sampled_from((*NEEDED[kind], *SHOWN[kind])))
        return sort, (kind, name), draw(st.sampled_from(EXTREME)), None
    places = draw(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8))
    return sort, kind, places, None


def damage(folder: Path, sort: str, where, how) -> None:
    """Do it, so that no other damage is undone."""
    if sort == "config":
        path = folder / "config.json"
        config = json.loads(path.read_text())
        outer, _, inner = where.rpartition(".")
        part = config.get(outer) if outer else config
        if isinstance(part, dict):
            part[inner] = how
            path.write_text(json.dumps(config))
    elif sort == "log":
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        name, number = where
        lines[number] = json.dumps(json.loads(lines[number]) | {name: how})
        (folder / "metrics.jsonl").write_text("\n".join(lines))
    elif sort == "bytes":
        path = folder / f"{where}.h5"
        content = bytearray(path.read_bytes())
        for place, value in how:
            content[int(place * (len(content) - 1))] = value
        path.write_bytes(content)
    else:
        kind, name = where
        with h5py.File(folder / f"{kind}.h5", "r+", libver=("earliest", "v108")) as file:
            if sort == "attribute":
                set_attributes(file, {name: how})
            elif name in file:
                _damage_dataset(file, name, how)


def _damage_dataset(file: h5py.File, name: str, how) -> None:
    values = file[name][...]
    if not isinstance(how, str):
        if values.dtype.kind in "iuf" and values.size:
            with np.errstate(all="ignore"):
                values.flat[values.size // 2] = np.asarray(how).astype(values.dtype)
            file[name][...] = values
        return
    del file[name]
    if how == "longer":
        file[name] = np.concatenate([values, values])
    elif how == "text":
        file.create_dataset(name, data=np.full(max(values.size, 1) + 1, "x", object),
                            dtype=h5py.string_dtype())  # fmt: skip
    elif how == "flat":
        file[name] = np.float64(1.0)


def set_attributes(file: h5py.File, said: dict) -> None:
    """As a file of an earlier version has them, where lists and mappings are told by looking."""
    file.attrs.pop("json", None)
    for name in ("attributes/long", "attributes/later"):
        if name in file:
            del file[name]
    for name, value in said.items():
        plain = isinstance(value, str | int | float | bool)
        file.attrs[name] = value if plain else json.dumps(value)


@st.composite
def runs(draw):
    return {
        "folder": draw(st.sampled_from(FOLDERS)),
        "model": draw(st.sampled_from(NAMES)),
        "said": {kind: draw(SAID) for kind in ("hessian", "surface", "neurons")},
        "matrix": draw(st.sampled_from(("hessian", "gauss_newton"))),
        "plane": {"x": draw(PLANES), "y": draw(PLANES)},
        "interpolated": draw(st.integers(0, 9)),
        "damages": draw(st.lists(damages(), max_size=3)),
    }


CASE = st.tuples(st.lists(runs(), min_size=1, max_size=2), st.integers(0, 19).map(lambda n: n == 7))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing is wrong with."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return made.write_run(folder, "ViT-Mini/2", ["whole", "encoderblock_0/mlp", "head"], points=5)


def made_folder(whole: Path, base: Path, case: dict) -> tuple[Path, list[list[str]]]:
    """The folder of one run, and the words that its page must contain."""
    folder = Path(os.fsdecode(os.path.join(os.fsencode(base), case["folder"])))
    shutil.copytree(whole, folder)
    config = json.loads((folder / "config.json").read_text())
    config["model"]["name"] = case["model"]
    (folder / "config.json").write_text(json.dumps(config))
    for kind, said in case["said"].items():
        with h5py.File(folder / f"{kind}.h5", "r+", libver=("earliest", "v108")) as file:
            told = {"hessian": {"matrix": case["matrix"]}, "surface": {"directions": case["plane"]}}
            set_attributes(file, {**said, **told.get(kind, {})})
            if kind == "surface":
                file["interpolated"][...] = np.arange(25).reshape(5, 5) < case["interpolated"]
    # Bytes last: h5py may not open what they damaged. Of several damages of one part the last may
    # be all that is left to name.
    case["damages"].sort(key=lambda one: one[0] == "bytes")
    parts, expected = [], []
    for sort, where, how, word in case["damages"]:
        damage(folder, sort, where, how)
        part = sort if sort in ("config", "log") else where if sort == "bytes" else where[0]
        parts.append(part)
        expected.append((part, word, f"{part}.h5 "))  # that, or why all of the file is unreadable
    expected = [words for part, *words in expected if words[0] and parts.count(part) == 1]
    return folder, expected


@CASES
def test_the_page_is_written_names_the_faults_and_agrees_with_the_files(
    times, whole, tmp_path, monkeypatch
):
    count = 0

    def check(case):
        nonlocal count
        several, drawn = case
        count += 1
        collected, expected = [], []
        for place, one in enumerate(several):
            base = tmp_path / str(count) / str(place)
            base.mkdir(parents=True)
            folder, words = made_folder(whole, base, one)
            collected.append(report.collect(folder))
            expected += words
        with monkeypatch.context() as patch:
            if not drawn:
                without_drawing(patch)
            path = report.write(collected, tmp_path / "report.html", title=several[0]["model"])
        page = Page(path.read_text("utf-8"))
        told = " ".join(page.texts("li"))
        for words in expected:
            assert any(word in told for word in words), (words, told)
        assert not page.all("script") + page.all("b") + page.all("i")
        agrees(page, report.run.distinct(collected))
        shutil.rmtree(tmp_path / str(count))

    each(CASE, 40 * times, check)


def agrees(page: Page, runs) -> None:
    """Compare every caption with the attributes of the results that it describes."""
    captions, told = " ".join(page.texts("figcaption")), page.texts("li")
    alternatives = " ".join(image["alt"] for image in page.all("img"))
    having = {name: [run for run in runs if name in run.results] for name in NEEDED}
    drawn = [run for run in having["surface"] if f"{run.label}: " not in
             " ".join(t for t in page.texts("p") if "surface" in t or "loss" in t)]  # fmt: skip
    tables = page.texts("caption")

    surfaces = next((t for t in page.texts("figcaption") if "on a plane of two" in t), "")
    assert bool(surfaces) <= bool(drawn)
    if surfaces:
        assert images_in(surfaces) == {images_of(run, "surface") for run in drawn}, surfaces
        planes = re.search(r"two directions \((.*?)\)\. Height", surfaces)[1].split(" or ")
        assert set(planes) == {plane_of(run) for run in drawn}
        terms = {float(v) for v in re.findall(r"plus ([\d.]+)/2", surfaces)}
        assert terms == {l2_of(run, "surface") for run in drawn} - {0.0}
        interpolated = any((run.results["surface"].data.get("interpolated") == 1).any()
                           if "interpolated" in run.results["surface"].data else False
                           for run in drawn)  # fmt: skip
        assert ("interpolated" in surfaces) == interpolated
    neurons = next((t for t in page.texts("figcaption") if "post-activation" in t), "")
    shown = [run for run in having["neurons"] if run.results["neurons"]["done"].any()]
    if neurons:
        assert images_in(neurons) == {images_of(run, "neurons") for run in shown}
    names = {"gauss_newton": "Gauss-Newton matrix"}
    matrices = {names.get(run.results["hessian"].attributes.get("matrix"), "Hessian")
                for run in having["hessian"]}  # fmt: skip
    [table3] = (text for text in tables if text.startswith("Table 3"))
    for name in ("Hessian", "Gauss-Newton matrix"):
        assert (name in table3) == (name in (matrices or {"Hessian"}))
    for run in having["hessian"]:
        [title] = (text for text in tables if text.startswith(run.label + ": eig"))
        assert images_in(title) == {images_of(run, "hessian")}
        l2 = l2_of(run, "hessian")
        assert (f"plus {l2:g}/2" in title) == (l2 != 0)
        step = run.results["hessian"].attributes.get("checkpoint_step", -1)
        if step >= 0 and run.last.get("step") not in (None, step):
            assert any("computed at step" in t and f"{step:,}" in t for t in told)
    for run in drawn:
        assert not surfaces or run.label in alternatives
    assert "Test accuracy" not in captions or any(
        "test_accuracy" in line for run in runs for line in run.metrics
    )


def images_in(caption: str) -> set[str]:
    """The counts and splits of images in a caption: "360 training images"."""
    starts = [part.rpartition("over ")[2] for part in re.split(" or |, with", caption)]
    pattern = r"(?:[\d,]+ )?(?:(?!images)[^ ]+ )?images(?: \(.*?\))?"
    return {match[0] for start in starts if (match := re.match(pattern, start))}


def images_of(run, name: str) -> str:
    """What the attributes say of them."""
    has = run.results[name].attributes
    data = has.get("data", {})
    number = has.get("examples", None if isinstance(data, str) else data.get("examples"))
    counted = None if number is None else f"{number:,}"
    if isinstance(data, str):
        return " ".join(filter(None, [counted, f"images ({data})"]))
    split = {"train": "training"}.get(data.get("split"), data.get("split"))
    return " ".join(filter(None, [counted, split, "images"]))


def l2_of(run, name: str) -> float:
    return float(run.results[name].attributes.get("l2", 0.0))


def plane_of(run) -> str:
    found = run.results["surface"].attributes.get("directions", {})
    return f"{found['x']} and {found['y']}" if found else "unknown"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(JUNK), lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(("model", "name", "data", "step", "train_loss")), inner,
                      max_size=4), max_leaves=8,
)  # fmt: skip


@CASES
def test_any_configuration_and_log_are_read_or_refused_in_words(times, tmp_path):
    def check(case):
        config, lines, cut = case
        (tmp_path / "config.json").write_text(json.dumps(config))
        text = "\n".join(json.dumps(line) for line in lines)
        (tmp_path / "metrics.jsonl").write_text(text[: int(cut * len(text))])
        with only_within(tmp_path):
            try:
                run = report.collect(tmp_path)
            except RequestError:
                return
        assert all(isinstance(problem, str) and "\n" not in problem for problem in run.problems)
        assert isinstance(run.label, str)
        run.label.encode()
        assert run.rho >= 0
        assert all(0 <= line.get("test_accuracy", 0) <= 1 for line in run.metrics)
        steps = [line["step"] for line in run.metrics if "step" in line]
        assert steps == sorted(set(steps))

    named = st.dictionaries(st.sampled_from(sorted(validation.CONFIG)), JSON, max_size=5)
    line = st.dictionaries(st.sampled_from(sorted(validation.LINE)), JSON, max_size=5) | JSON
    each(st.tuples(named | JSON, st.lists(line, max_size=5), st.floats(0, 1)), 60 * times, check)
