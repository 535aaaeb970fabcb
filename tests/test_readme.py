"""The Python in the README runs as it is printed, strict promotion aside."""

import re
from pathlib import Path

import jax
import numpy as np

README = Path(__file__).parents[1] / "README.md"


def test_the_same_lines_work_for_every_kind_of_model():
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    setup, examples = re.split(r"\n\n(?=# a plain)", code)
    models = examples.split("\n\n")
    names = [re.findall("linen|NNX|Equinox|Haiku|plain", block) for block in models]
    assert [name[0] for name in names] == ["plain", "linen", "NNX", "Equinox", "Haiku"]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        scope = {}
        exec(setup, scope)
        for block in models:
            lines = block.strip().splitlines()
            exec("\n".join(lines[:-1]), scope)
            sharpness, surface = eval(lines[-1], scope)
            assert sharpness.converged
            assert sharpness.lower <= sharpness.estimate <= sharpness.upper
            assert np.isfinite(surface).all()
            assert surface.min() < surface.max()


def test_the_readme_is_at_most_150_lines():
    assert len(README.read_text().splitlines()) <= 150
