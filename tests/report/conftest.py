import pytest
import synthetic_runs as made
from report_page import Page

from landscape import report


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Plain and SAM runs of three networks, everything measured; not to be changed."""
    base = tmp_path_factory.mktemp("runs")
    made.write_run(base / "resnet", "ResNet-Mini", made.RESNET, scale=40.0)
    made.write_run(base / "vit", "ViT-Mini/2", made.VIT, scale=180.0)
    made.write_run(base / "mixer", "Mixer-Mini/2", made.MIXER, scale=260.0)
    made.write_run(base / "vit-sam", "ViT-Mini/2", made.VIT, scale=9.0, rho=0.05)
    return [base / name for name in ("resnet", "vit", "vit-sam", "mixer")]


@pytest.fixture(scope="session")
def runs(folders):
    return [report.collect(folder) for folder in folders]


@pytest.fixture(scope="session")
def written(runs):
    """The report of all runs, beside them."""
    return report.write(runs, runs[0].path.parent / "report.html", title="Six networks")


@pytest.fixture(scope="session")
def full_page(written):
    return Page(written.read_text("utf-8"))
