import pytest

from landscape.errors import RequestError
from landscape.surface import coordinates


def test_coordinates_contain_an_exact_zero_and_refuse_an_empty_range():
    for points in (3, 25, 51):
        assert 0.0 in coordinates(-1, 1, points)
    assert coordinates(0.5, 2, 4).tolist() == [0.5, 1.0, 1.5, 2.0]
    for wrong in ((1, 1, 5), (2, 1, 5), (0, 1, 1)):
        with pytest.raises(RequestError, match="no grid"):
            coordinates(*wrong)
