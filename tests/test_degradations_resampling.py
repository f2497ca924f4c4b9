"""Resizing, against Pillow."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from skiqa.degradations._resampling import resample

QUICK = settings(max_examples=30)


@QUICK
@given(
    st.sampled_from(["bilinear", "bicubic", "lanczos"]),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_resampling_is_pillows(kernel, old, new):
    image = torch.rand(1, 3, *old, generator=torch.Generator().manual_seed(0))
    method = Image.Resampling[kernel.upper()]
    expected = [np.asarray(Image.fromarray(c).resize(new[::-1], method)) for c in image[0].numpy()]
    np.testing.assert_allclose(resample(image, new, kernel)[0], expected, atol=2e-5)


def test_wide_images_are_resized_block_by_block():
    wide = torch.rand(1, 3, 2, 2100, generator=torch.Generator().manual_seed(0))
    expected = [
        np.asarray(Image.fromarray(c).resize((700, 2), Image.Resampling.LANCZOS))
        for c in wide[0].numpy()
    ]
    np.testing.assert_allclose(resample(wide, (2, 700), "lanczos")[0], expected, atol=2e-5)
