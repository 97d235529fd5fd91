"""Our sampler and split draw what diffusers' own pipeline draws: one step, and two to four."""

from __future__ import annotations

import pytest

from tests.family.two_ways import compare
from training.family.folder import Family, load_family
from training.family.random_family import random_family

# diffusers 0.39's scheduler hands numpy 2 a tensor whose __array__ knows no `copy`.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return load_family(random_family(tmp_path_factory.mktemp("family") / "small", size="sd-turbo-small"))


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_pictures_equal_those_of_stable_diffusion_pipeline(family: Family, steps: int) -> None:
    found = compare(family, steps, pictures=2)
    assert found["range"] > 0.1
    assert found["max_abs_diff"] < 2e-4
    assert found["psnr_db"] > 80.0
