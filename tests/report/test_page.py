import json
import os

import numpy as np
import pytest
import synthetic_runs as made
from report_page import page

from landscape import report
from landscape.errors import RequestError


def test_the_page_is_well_formed_and_needs_nothing_else(written, full_page):
    found = full_page
    assert not found.all("script")
    assert not found.all("link")
    assert found.all("html") == [{"lang": "en"}]
    images = found.all("img")
    assert len(images) == 5
    for image in images:
        assert image["src"].startswith("data:image/")
        assert len(image["alt"]) > 20
    for _, attributes in found.tags:
        assert not {"href", "srcset", "onload", "onclick"} & attributes.keys()
    assert "url(" not in written.read_text("utf-8")
    assert "@import" not in written.read_text("utf-8")


def test_tables_have_scoped_headers_and_captions(full_page):
    assert all(header["scope"] in ("col", "row") for header in full_page.all("th"))
    assert len(full_page.all("caption")) == len(full_page.all("table"))


def test_names_are_escaped_everywhere(tmp_path):
    name = "<b>bold</b> & \"quoted\" 'ViT'<script>alert(1)</script>"
    folder = made.write_run(tmp_path / "run", name, made.VIT)
    found = page([report.collect(folder)], tmp_path, title="<i>title</i>")
    assert not found.all("b")
    assert not found.all("i")
    assert not found.all("script")
    assert name in found.text
    assert "<i>title</i>" in found.text
    assert any(name in image["alt"] for image in found.all("img"))


def test_every_number_has_its_source(written, full_page):
    text = full_page.text
    for file in ("config.json", "metrics.jsonl", "hessian.h5", "surface.h5", "ntk.h5"):
        assert os.path.join("vit-sam", file) in text
    assert "analysis_cli.py all RUN" in text
    assert "1 x cpu (cpu)" in text
    assert "d1g1t5" in text
    assert "2026-01-02T03:04:05Z" in text
    assert str(written.parent) not in text


def test_a_run_with_nothing_but_a_configuration_still_gives_a_page(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model": {"name": "ViT"}}))
    found = page([report.collect(folder)], tmp_path)
    assert not found.all("img")
    assert found.text.count("not measured") > 10


def test_incomplete_analyses_give_a_page_that_says_so(tmp_path):
    folder = tmp_path / "run"
    made.write_config(folder, "ViT")
    made.write_hessian(folder, made.VIT, done=3)
    made.write_surface(folder, np.ones((5, 5)) * np.arange(1, 6), done=12)
    made.write_ntk(folder, [1.0, 2.0], done=0)
    made.write_neurons(folder, made.layers(made.VIT), done=1)
    text = page([report.collect(folder)], tmp_path).text
    for status in ("incomplete (12 of 25)", "incomplete (0 of 2)", "incomplete (1 of 3)"):
        assert status in text


def test_results_that_were_only_begun_give_no_figure(tmp_path):
    made.write_hessian(tmp_path, made.VIT, done=0)
    made.write_surface(tmp_path, np.ones((5, 5)), done=0)
    made.write_neurons(tmp_path, made.layers(made.VIT), done=0)
    found = page([report.collect(tmp_path)], tmp_path)
    assert not found.all("img")


def test_a_surface_that_is_nowhere_finite_is_not_called_not_measured(tmp_path, runs):
    made.write_config(tmp_path / "run", "Diverged")
    made.write_surface(tmp_path / "run", np.full((5, 5), np.inf))
    run = report.collect(tmp_path / "run")
    told = "Diverged: the loss is finite at none of 25 points"
    assert page([run], tmp_path).text.count(told) == 2
    assert page([run, runs[0]], tmp_path).text.count(told) == 2
    made.write_surface(tmp_path / "line", np.ones((1, 5)))
    assert "line: a line, not a plane" in page([report.collect(tmp_path / "line")], tmp_path).text


def test_diverged_and_negative_surfaces_are_drawn(tmp_path):
    z = np.linspace(-1, 3, 25).reshape(5, 5)
    z[0, 0] = np.inf
    made.write_surface(tmp_path, z)
    assert len(page([report.collect(tmp_path)], tmp_path).all("img")) == 2


def test_the_same_results_give_the_same_bytes(written, runs):
    before = written.read_bytes()
    assert report.write(runs, written, title="Six networks").read_bytes() == before
    assert not list(written.parent.glob(".*"))


def test_six_large_surfaces_stay_below_three_megabytes(tmp_path):
    grid = np.linspace(-1, 1, 25)
    for place in range(6):
        made.write_surface(tmp_path / f"{place}", made.bowl(grid, grid, 5.0 + place, place))
    runs = [report.collect(tmp_path / f"{place}") for place in range(6)]
    assert report.write(runs, tmp_path / "report.html").stat().st_size < 3_000_000


def test_no_runs_and_an_impossible_file_are_refused(runs, tmp_path):
    with pytest.raises(RequestError, match="runs"):
        report.write([], tmp_path / "report.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match=r"out: .* cannot be written"):
        report.write(runs[:1], tmp_path / "file" / "report.html")
