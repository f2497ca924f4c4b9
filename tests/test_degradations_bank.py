"""Banks: each sample by its own type, level and seed."""

import pickle
from collections import Counter

import pytest
import torch

from skiqa.degradations import (
    ARNIQA,
    KADIS,
    QPT,
    REIQA,
    Bank,
    ShuffleSpace,
    get_bank,
    get_operator,
    get_space,
    list_operators,
)


@pytest.fixture
def images():
    return torch.rand(6, 3, 24, 20, generator=torch.Generator().manual_seed(0))


def test_every_sample_gets_its_own(images):
    types = torch.tensor([10, 0, -1, 10, 24, 9])
    levels = torch.tensor([5, 3, 1, 1, 2, 4])
    seeds = torch.arange(6)
    before = images.clone()
    result = KADIS.apply(images, types, levels, seeds)
    assert torch.equal(images, before)
    for i in range(6):
        if types[i] < 0:
            expected = images[i : i + 1]
        else:
            operator = get_operator(KADIS.names[types[i]])
            expected = operator(images[i : i + 1], int(levels[i]), int(seeds[i]))
        assert torch.equal(result[i : i + 1], expected)


def test_normalize_stretches_before_and_after():
    images = 0.25 + 0.5 * torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    types = torch.tensor([17, -1])
    result = KADIS.apply(images, types, 1, 0, normalize="kadis")
    low, high = images[0].aminmax()
    stretched = (images[0] - low) / (high - low)
    # mean shift by 0.15 with clipping, then stretched again: min(a, 0.85) / 0.85
    torch.testing.assert_close(result[0], stretched.clamp(max=0.85) / 0.85)
    assert torch.equal(result[1], images[1])


@pytest.mark.parametrize("name", KADIS.names)
def test_normalized_results_span_the_range(name, images):
    result = KADIS.apply(images[:2], KADIS.names.index(name), 3, 0, normalize="kadis")
    torch.testing.assert_close(result.amin((1, 2, 3)), torch.zeros(2))
    torch.testing.assert_close(result.amax((1, 2, 3)), torch.ones(2))


def test_constant_images_are_not_stretched():
    images = torch.full((1, 3, 8, 8), 0.4)
    assert torch.equal(KADIS.apply(images, 0, 1, 0, normalize="kadis"), images)


def test_classes_are_counted_by_type_and_level():
    assert KADIS.n_classes == 126
    types, levels = torch.tensor([0, 0, 24, -1]), torch.tensor([1, 5, 5, 3])
    assert KADIS.class_index(types, levels).tolist() == [0, 4, 124, 125]


@pytest.mark.parametrize(
    ("types", "levels", "seeds", "message"),
    [
        ([0, 25, 0, 0, 0, 0], 1, 0, r"type 25 at index 1 is not in -1\.\.24"),
        ([0, 0, -2, 0, 0, 0], 1, 0, "type -2 at index 2"),
        (0, [1, 1, 1, 1, 1, 6], 0, r"level 6 at index 5 is not in 1\.\.5"),
        (0, 1, [1, 2], "seeds: shape .* does not fit 6 images"),
    ],
)
def test_errors_name_the_sample(images, types, levels, seeds, message):
    with pytest.raises(ValueError, match=message):
        KADIS.apply(images, *(torch.tensor(v) for v in (types, levels, seeds)))


def test_levels_of_pristine_samples_are_ignored(images):
    assert torch.equal(KADIS.apply(images, -1, 0, 0), images)


def test_numbers_must_be_whole(images):
    with pytest.raises(TypeError, match="types"):
        KADIS.apply(images, 0.5, 1, 0)
    with pytest.raises(ValueError, match="normalize"):
        KADIS.apply(images, 0, 1, 0, normalize="minmax")


def test_own_banks(images):
    bank = Bank("noises", ("white_noise", "impulse_noise"))
    assert bank.n_classes == 11
    expected = get_operator("impulse_noise")(images, 2, 3)
    assert torch.equal(bank.apply(images, 1, 2, 3), expected)
    assert pickle.loads(pickle.dumps(bank)) == bank
    with pytest.raises(ValueError, match="twice"):
        Bank("b", ("jpeg", "jpeg"))
    with pytest.raises(ValueError, match="empty"):
        Bank("b", ())
    with pytest.raises(ValueError, match="There is no degradation named 'fogg'"):
        Bank("b", ("fogg",)).apply(images, 0, 1, 0)


def test_banks_are_found_by_name():
    assert get_bank("kadis") is KADIS
    assert get_bank(KADIS) is KADIS
    with pytest.raises(ValueError, match="kadis"):
        get_bank("kadid")


def test_the_bank_is_registered_in_full():
    assert len(KADIS.names) == 25
    assert [o.name for o in KADIS.operators] == list(KADIS.names)
    assert set(KADIS.names) <= set(list_operators())
    groups = "blur color compression noise brightness spatial sharpness"
    assert {o.group for o in KADIS.operators} == set(groups.split())
    for number, operator in enumerate(KADIS.operators, 1):
        assert operator.source.startswith(f"KADID-10k type {number}")
        assert len(operator.levels) == 5


def _definitions(names, suffix):
    return {name.removesuffix(suffix) for name in names}


def test_arniqa_bank_is_published():
    # groups, 24 operators and the levels that differ from KADIS: ARNIQA's data/utils_data.py
    assert len(ARNIQA) == 24
    assert set(KADIS.names) - _definitions(ARNIQA.names, "_arniqa") == {
        "color_quantization",
        "denoise",
    }
    groups = Counter(operator.group for operator in ARNIQA.operators)
    assert list(groups.values()) == [3, 4, 2, 4, 3, 5, 3]
    assert get_operator("jpeg2000_arniqa").levels == (16, 32, 45, 120, 170)
    assert get_operator("mean_shift_arniqa").levels == (0, 0.08, -0.08, 0.15, -0.15)
    assert get_operator("contrast_change_arniqa").levels == (0, 0.15, -0.4, 0.3, -0.6)
    assert get_operator("non_linear_contrast").levels == (0.4, 0.3, 0.2, 0.1, 0.05)
    assert get_space("arniqa").size() == 68_638_820 + 1


def test_reiqa_bank_is_published():
    # 22 of KADIS's 25 and four ways to resize: Re-IQA's datasets/iqa_distortions.py
    assert len(REIQA) == 26
    assert set(KADIS.names) - _definitions(REIQA.names, "_reiqa") == {
        "color_quantization",
        "jpeg2000",
        "quantization",
    }
    assert sum(name.startswith("resize_") for name in REIQA.names) == 4
    assert get_operator("jpeg_reiqa").levels == (70, 43, 36, 24, 7)
    assert get_space("reiqa").size() == 130
    assert len(get_space("reiqa").sample_distinct([0], 11)[0]) == 11


def test_qpt_bank_is_that_of_the_port():
    assert len(QPT) == 26
    families = Counter(operator.family for operator in QPT.operators)
    assert families == {"geometric": 3, "color": 10, "texture": 13}
    # D1 and the sum over families of the notes of ShuffleSpace, by hand
    single = 1 + 130 + 2 * (15 * 50 + 15 * 65 + 50 * 65) + 6 * 15 * 50 * 65
    assert ShuffleSpace(p_second=0).size() == single == 302_581
    without = [1 + 115 + 2 * 50 * 65, 1 + 80 + 2 * 15 * 65, 1 + 65 + 2 * 15 * 50]
    double = sum(n * w * (single - w) for n, w in zip((15, 50, 65), without, strict=True))
    assert ShuffleSpace().size() == single + double == 90_533_038_531
