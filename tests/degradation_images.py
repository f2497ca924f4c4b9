"""Images for the tests of the degradations."""

import numpy as np
import torch
from PIL import Image


def to_pillow(image):
    return Image.fromarray((image.permute(1, 2, 0) * 255).round().byte().numpy())


def from_pillow(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def point(size):
    image = torch.zeros(1, 3, size, size)
    image[:, :, size // 2, size // 2] = 1
    return image
