"""An operator of one dimension gives its shape as one number."""

import pytest

from tuner.core.errors import InvalidWorkload
from tuner.operators.gemm import Gemm


class Line(Gemm):
    """A shape of one dimension; nothing else of it is asked for."""

    name = "line"
    dims = ("n",)
    options = {"batch": 1}  # noqa: RUF012
    example = "1024"

    def validate(self, workload):
        """Any."""


@pytest.mark.parametrize("shape", ["1024", " 1024 ", "n1024", "n=1024"])
def test_a_number_is_a_shape(shape: str) -> None:
    assert Line().parse(shape)["n"] == 1024


@pytest.mark.parametrize("shape", ["0", "-3", "12x3", "1.5", ""])
def test_other_texts_are_refused(shape: str) -> None:
    with pytest.raises(InvalidWorkload):
        Line().parse(shape)
