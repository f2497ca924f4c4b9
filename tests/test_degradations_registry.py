"""The register: what there is, and what an operator refuses."""

import numpy as np
import pytest
import torch

from skiqa.degradations import (
    KADIS,
    BankSpace,
    SequenceSpace,
    ShuffleSpace,
    _registry,
    apply_sequences,
    batched,
    degrade,
    format_sequence,
    get_bank,
    get_operator,
    list_operators,
    register,
)
from skiqa.degradations._random import uniform
from skiqa.inspection import DegradationGalleryDisplay


@pytest.fixture
def images():
    return torch.rand(8, 3, 40, 36, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.rand(2, 3, 8, 8), 6), r"gaussian_blur: level 6 at index 0 is not in 1\.\.5"),
        ((torch.rand(2, 3, 8, 8), torch.tensor([1, 0])), "level 0 at index 1"),
        ((torch.rand(2, 3, 8, 8), torch.tensor([1, 2, 3])), "does not fit 2 images"),
        ((torch.rand(2, 1, 8, 8), 1), r"\(N, 3, H, W\)"),
        ((torch.rand(2, 3, 0, 8), 1), "no pixels"),
    ],
)
def test_errors_say_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        get_operator("gaussian_blur")(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        (torch.rand(2, 3, 8, 8, dtype=torch.float64), 1),
        (np.zeros((2, 3, 8, 8), np.float32), 1),
        (torch.rand(2, 3, 8, 8), 1.5),
        (torch.rand(2, 3, 8, 8), "high"),
    ],
)
def test_wrong_types_are_type_errors(arguments):
    with pytest.raises(TypeError):
        get_operator("gaussian_blur")(*arguments)


def test_unknown_names_list_what_there_is():
    with pytest.raises(ValueError, match="gaussian_blur"):
        get_operator("gausian_blur")
    with pytest.raises(ValueError, match="blur, brightness"):
        list_operators("blurs")
    with pytest.raises(ValueError, match="registered already"):
        register("jpeg", group="compression", levels=(1, 2, 3, 4, 5))
    with pytest.raises(ValueError, match="five levels"):
        register("new", group="compression", levels=(1, 2, 3))


def test_ones_own_operator_is_in_every_space(images, monkeypatch):
    monkeypatch.setattr(_registry, "_OPERATORS", dict(_registry._OPERATORS))

    @register("drizzle", group="weather", levels=(0.1, 0.2, 0.3, 0.4, 0.5))
    @batched
    def drizzle(images, amount):
        return images * (1 - amount)

    for kind in (BankSpace, SequenceSpace, ShuffleSpace):
        drawn = kind(bank="all").sample(range(500))
        assert any(name == "drizzle" for s in drawn for name, _ in s)
        assert kind(bank="all").size() > kind(bank=[*KADIS.names]).size()
    only = BankSpace(bank=("drizzle",))
    assert only.size() == 5
    level = only.sample([1])[0][0][1]
    torch.testing.assert_close(only.degrade(images[:1], [1]), images[:1] * (1 - level / 10))
    text = format_sequence((("drizzle", 2), ("darken", 1)))
    expected = get_operator("darken")(images * 0.8, 1)
    torch.testing.assert_close(apply_sequences(images, text), expected)
    assert get_bank("all").names[-1] == "drizzle"
    torch.testing.assert_close(degrade(images[0], "drizzle", 5), images[0] * 0.5)


def test_ones_own_random_operator_gets_values_and_seeds(images, monkeypatch):
    monkeypatch.setattr(_registry, "_OPERATORS", dict(_registry._OPERATORS))

    @register("sleet", group="noise", levels=(1, 2, 3, 4, 5), random=True, family="geometric")
    @batched
    def sleet(images, amount, seeds):
        return images - amount / 10 * uniform(seeds, images.shape[1:])

    space = SequenceSpace(bank=("sleet", "white_noise", "jpeg"), max_length=2, p_pristine=0)
    assert all(
        not {"sleet", "white_noise"} <= {name for name, _ in sequence}  # of one group
        for sequence in space.sample(range(300))
    )
    assert get_operator("sleet").family == "geometric"
    first, again = (apply_sequences(images, "sleet:3", torch.arange(8)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, apply_sequences(images, "sleet:3", 1))
    assert torch.equal(apply_sequences(images[5:6], "sleet:3", [5]), first[5:6])


def test_ones_own_operator_is_in_the_gallery(monkeypatch):
    pytest.importorskip("matplotlib").use("Agg")
    monkeypatch.setattr(_registry, "_OPERATORS", dict(_registry._OPERATORS))

    @register("drizzle", group="weather", levels=(0.1, 0.2, 0.3, 0.4, 0.5))
    @batched
    def drizzle(images, amount):
        return images * (1 - amount)

    import matplotlib.pyplot as plt

    photo = torch.full((3, 20, 30), 0.8)
    display = DegradationGalleryDisplay.from_photo(photo, operators=("drizzle", "jpeg"))
    plt.close(display.figure_)
    np.testing.assert_array_equal(display.images[0, :, 0, 0, 0], [184, 163, 143, 122, 102])
