import importlib.util
from pathlib import Path

import numpy as np
import pytest
import synthetic_runs as made

from landscape import report


@pytest.fixture(scope="module")
def figure1():
    path = Path(__file__).parents[2] / "figures" / "figure1.py"
    spec = importlib.util.spec_from_file_location("figure1", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_panels_carry_sharpness_and_accuracy(runs):
    figure = report.surface_figure(runs)
    told = [text.get_text() for text in figure.texts]
    place = told.index("ViT-Mini/2-SAM")
    assert told[place + 1] == "λmax 9.000 [8.990, 9.036]\ntest accuracy 95.0 [92.2, 96.9] %"


def test_a_panel_does_not_carry_the_sharpness_of_other_parameters(tmp_path):
    made.write_surface(tmp_path, made.bowl(np.linspace(-1, 1, 5), np.linspace(-1, 1, 5), 3.0))
    for parameters_hash, there in (("p0", True), ("p1", False)):
        (tmp_path / "hessian.h5").unlink(missing_ok=True)
        made.write_hessian(tmp_path, ["whole"], parameters_hash=parameters_hash)
        told = [text.get_text() for text in report.surface_figure([report.collect(tmp_path)]).texts]
        assert any("λmax" in text for text in told) == there


def test_partners_stand_below_each_other(tmp_path):
    grid = np.linspace(-1, 1, 5)
    names = []
    for model in ("A", "B"):
        for rho in (0.0, 0.1):
            names.append(tmp_path / f"{model}{rho}")
            made.write_config(names[-1], model, rho)
            made.write_surface(names[-1], made.bowl(grid, grid, 3.0))
    figure = report.surface_figure([report.collect(name) for name in names])
    titles = [text.get_text() for text in figure.texts][::2]
    assert titles == ["A", "B", "A-SAM", "B-SAM"]
    tops = [round(ax.get_position().y1, 3) for ax in figure.axes[:-1]]
    assert tops[0] == tops[1] > tops[2] == tops[3]


@pytest.mark.parametrize("form", ["png", "pdf", "svg"])
def test_figure_1_is_drawn_from_run_folders(figure1, folders, tmp_path, form, capsys):
    out = tmp_path / f"figure.{form}"
    (tmp_path / "report.html").write_text("")  # as runs/* would also name
    words_given = [*map(str, folders), str(tmp_path / "report.html"), "--out", str(out)]
    assert figure1.main(words_given) == 0
    assert out.stat().st_size > 10_000
    assert capsys.readouterr().out.strip() == str(out)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["nowhere"], "run: no folder nowhere"), (["--out", "x.gif"], "--out: x.gif is none of"),
     (["--vmax", "-1"], "vmin")],
)  # fmt: skip
def test_figure_1_answers_wrong_requests_in_one_line(
    figure1, folders, arguments, complaint, capsys
):
    given = arguments if arguments == ["nowhere"] else [str(folders[0]), *arguments]
    assert figure1.main(given) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_figure_1_without_a_surface_says_what_to_do(figure1, tmp_path, capsys):
    made.write_config(tmp_path / "run", "ViT")
    assert figure1.main([str(tmp_path / "run")]) == 2
    assert "run `surface` on them first" in capsys.readouterr().err
