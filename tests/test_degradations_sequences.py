"""Sequences: text, order, and independence of the batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skiqa.degradations import (
    KADIS,
    BankSpace,
    ShuffleSpace,
    apply_sequences,
    format_sequence,
    get_operator,
    get_space,
    parse_sequence,
)
from skiqa.degradations._random import spawn

QUICK = settings(max_examples=30)


@pytest.fixture
def images():
    return torch.rand(8, 3, 40, 36, generator=torch.Generator().manual_seed(0))


@st.composite
def sequences(draw):
    step = st.tuples(st.sampled_from(list(KADIS.names)), st.integers(1, 5))
    return tuple(draw(st.lists(step, max_size=6)))


@QUICK
@given(sequences())
def test_text_round_trips(sequence):
    text = format_sequence(sequence)
    assert parse_sequence(text) == sequence
    assert parse_sequence(text.replace(" ", "")) == sequence
    assert format_sequence(parse_sequence(f"  {text}\n")) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jpeg", "'jpeg' is not of the form name:level"),
        ("", "is not of the form"),
        ("jpeg:2 >", "'' is not of the form"),
        ("jpeg:2 > pristine", "'pristine' is not of the form"),
        ("jpeg:two", "is not of the form"),
        ("jpeg:-1", "is not of the form"),
        ("jpeg:²", "is not of the form"),
        (":2", "is not of the form"),
        ("jpeg:0", r"level 0 is not in 1\.\.5"),
        ("jpeg:6 > jpeg:1", r"level 6 is not in 1\.\.5"),
        ("jepg:2", "no degradation named 'jepg'"),
    ],
)
def test_wrong_text(text, message):
    with pytest.raises(ValueError, match=message):
        parse_sequence(text)


def test_wrong_sequences():
    with pytest.raises(TypeError, match="text is a str, not tuple"):
        parse_sequence((("jpeg", 2),))
    with pytest.raises(ValueError, match="pair"):
        format_sequence(("jpeg", 2))
    with pytest.raises(TypeError, match=r"a level is an int, not 2\.5"):
        format_sequence((("jpeg", 2.5),))
    with pytest.raises(ValueError, match="level 9"):
        format_sequence((("jpeg", 9),))


def test_steps_are_applied_in_order(images):
    text = ["jitter:5 > jpeg:2", "jpeg:2 > jitter:5", "pristine", "white_noise:3 > white_noise:3"]
    seeds = torch.tensor([3, 3, 3, 4])
    before = images.clone()
    result = apply_sequences(images[:4], text, seeds)
    assert torch.equal(images, before)
    jitter, jpeg, noise = map(get_operator, ("jitter", "jpeg", "white_noise"))
    first, second = spawn(seeds, 0), spawn(seeds, 1)
    assert torch.equal(result[:1], jpeg(jitter(images[:1], 5, first[:1]), 2))
    assert torch.equal(result[1:2], jitter(jpeg(images[1:2], 2), 5, second[1:2]))
    assert torch.equal(result[2], images[2])
    twice = noise(noise(images[3:4], 3, first[3:]), 3, second[3:])  # other noise the second time
    assert torch.equal(result[3:], twice)


def test_one_text_for_all(images):
    expected = get_operator("darken")(images, 4)
    assert torch.equal(apply_sequences(images, "darken:4"), expected)
    assert apply_sequences(images[:0], []).shape == (0, 3, 40, 36)
    assert ShuffleSpace().degrade(images[:0], []).shape == (0, 3, 40, 36)


def test_numbers_must_fit(images):
    with pytest.raises(ValueError, match="8 images need a list of 8 sequences, not 2"):
        apply_sequences(images, [(), ()])
    with pytest.raises(ValueError, match=r"seeds: shape \(2,\) does not fit 8 images"):
        apply_sequences(images, "jpeg:1", torch.arange(2))
    with pytest.raises(TypeError, match="float32"):
        BankSpace().degrade(images.double(), torch.arange(8))


@pytest.mark.parametrize("space", ["contrique", "arniqa", "qpt", "reiqa"])
def test_what_a_space_draws_round_trips_as_text(space):
    sequences = get_space(space).sample(range(500))
    assert [parse_sequence(format_sequence(s)) for s in sequences] == sequences
