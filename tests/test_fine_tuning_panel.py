"""Tokens, the panel, matched noise, and a set where it is known which features show quality."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fine_tuning_parts import extraction, photos, windows
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import smooth_l1_loss

from skiqa._fine_tuning.data import BatchTargets
from skiqa._fine_tuning.losses import fidelity_loss
from skiqa._fine_tuning.matching import Memory, NoiseGate, Seen, matched
from skiqa._fine_tuning.panel import AttentionPanel, PanelDesign
from skiqa._fine_tuning.panel_tuner import PanelPlan, PanelTuner
from skiqa._fine_tuning.sources import Photos, Source
from skiqa._fine_tuning.tokens import TokenGrid
from skiqa._inputs.containers import as_image_list
from skiqa._network.build import build, random_state_of


def test_tokens_of_a_convolutional_network_are_means_of_its_maps():
    network, grid = build(random_state_of("test_efficientnet", 0)).eval(), TokenGrid(2, 2)
    (image,) = windows(1)
    wide = np.concatenate([image, image[:, ::-1], image], axis=1)
    with torch.inference_mode():
        source = photos([wide])
        rows, blocks = source.features_and_tokens(network, [wide], grid)
        torch.testing.assert_close(rows, source.features(network, [wide]))
        *_, last = network.maps(source._network_input([wide], 1.0, network))
    assert [x.shape[1] for x in blocks] == [4] * 4  # two scales, two stages
    torch.testing.assert_close(blocks[1].mean(dim=1), last.mean(dim=(2, 3)))
    left = last[..., : last.shape[3] // 2].mean(dim=(2, 3))
    torch.testing.assert_close(blocks[1][:, [0, 2]].mean(dim=1), left)  # columns 0 of both rows


def test_tokens_of_a_vision_transformer_have_its_class_token_last():
    state = random_state_of("test_vit", 0)
    network, (image,) = build(state).eval(), windows(1)
    source = Photos(as_image_list([image]), extraction(state, (1.0,)), None, None)
    with torch.no_grad():
        _, blocks = source.features_and_tokens(network, [image], TokenGrid(1, 4))
        x = source._network_input([image], 1.0, network)
        all_tokens = network.model.forward_features(x)  # behind the last norm
        normed = network.model.norm(blocks[-1])
    assert [tuple(x.shape) for x in blocks] == [(1, 16, 64), (1, 1, 64)]
    torch.testing.assert_close(normed[:, 0], all_tokens[:, 0])
    patches = network.model.norm(blocks[0])  # 64 / 16: a patch a token
    torch.testing.assert_close(patches, all_tokens[:, 1:])


def tokens_of(n=3, t=4, d=8, seed=0):
    return torch.randn(n, t, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("n_queries", "votes"), [(0, 1), (1, 1), (6, 6)])
def test_a_panel_votes_zero_before_training(n_queries, votes):
    panel = AttentionPanel(PanelDesign((5, 8), 0, 8, n_queries, False))
    blocks = [tokens_of(d=5), tokens_of()]
    panel.standardise_by(blocks)
    tokens = panel.tokens(blocks)
    assert tokens.shape == (3, 8, 8)
    torch.testing.assert_close(tokens[:, 4:].mean(dim=(0, 1)), torch.zeros(8), atol=1e-6, rtol=0)
    assert (panel(tokens) == torch.zeros(3, votes)).all()
    torch.nn.init.ones_(panel.head.weight)
    assert len(panel(tokens)[0].unique()) == votes  # queries differ
    again = AttentionPanel(panel.design)
    assert torch.equal(again.queries, panel.queries)


def test_a_closed_channel_says_nothing():
    panel = AttentionPanel(PanelDesign((8,), 0, 8, 2, True))
    torch.nn.init.ones_(panel.head.weight)
    with torch.no_grad():
        panel.selector.bias[3] = -200.0
    tokens = tokens_of()
    other = tokens.clone()
    other[:, :, 3] += 5.0
    torch.testing.assert_close(panel(other), panel(tokens))
    other[:, :, 4] += 5.0
    assert (panel(other) - panel(tokens)).abs().max() > 1e-3


def test_tokens_are_standardised_and_bear_the_mark_of_their_map():
    blocks = [tokens_of(), tokens_of(seed=1)]
    blocks[0][..., 2] = 5.0  # a channel that says nothing
    panel = AttentionPanel(PanelDesign((8, 8), 0, 8, 0, False))
    panel.standardise_by(blocks)
    plain = panel.tokens(blocks)
    assert (plain[:, :4, 2] == 0).all()
    deviations = plain[:, 4:].std(dim=(0, 1), correction=0)
    torch.testing.assert_close(deviations, torch.ones(8))
    with torch.no_grad():
        panel.blocks[1].mark += 1.0
    moved = panel.tokens(blocks) - plain
    torch.testing.assert_close(moved.mean(dim=(0, 2)), torch.tensor([0.0] * 4 + [1] * 4))


def test_a_query_is_a_learned_vector_and_the_class_token_where_there_is_one():
    for n_class_tokens in (0, 1):
        panel = AttentionPanel(PanelDesign((8, 8), n_class_tokens, 8, 2, False))
        tokens, asked = tokens_of(t=5), []
        panel.decoder.register_forward_pre_hook(lambda _, x, asked=asked: asked.extend(x))
        panel(tokens)
        pooled = tokens[:, 4] if n_class_tokens else tokens.mean(dim=1)
        torch.testing.assert_close(asked[0], panel.queries + pooled[:, None])
        assert torch.equal(asked[1], tokens)
        alone = AttentionPanel(replace(panel.design, n_queries=0))
        torch.nn.init.ones_(alone.head.weight)
        torch.testing.assert_close(alone(tokens)[:, 0], pooled.sum(dim=1))


def test_a_selector_goes_by_means_and_spreads_of_an_images_tokens():
    panel, tokens = AttentionPanel(PanelDesign((2,), 0, 2, 0, True)), torch.zeros(2, 4, 2)
    tokens[0, :, 0] = torch.tensor([1.0, 1, 3, 3])  # mean 2, deviation 1
    with torch.no_grad():
        panel.selector.weight[0, 0] = 0.5  # a channel by its mean
        panel.selector.weight[1, 2] = 4.0  # and the other by the first one's deviation
    logits = torch.tensor([[2.0 + 1, 2 + 4], [2, 2]])
    torch.testing.assert_close(panel.selection(tokens), logits.sigmoid(), rtol=1e-3, atol=0)
    tokens.requires_grad_()
    panel.selection(tokens).sum().backward()
    assert tokens.grad.isfinite().all()  # of tokens that are all alike, too


def test_a_picture_is_the_mean_of_selected_maps_without_class_tokens():
    panel, tokens = AttentionPanel(PanelDesign((8, 8, 8), 1, 8, 0, True)), tokens_of(t=9)
    picture = (tokens[:, :4] + tokens[:, 4:8]) / 2  # two maps of 2 x 2, and a class token
    torch.testing.assert_close(panel.pictured(tokens), torch.sigmoid(torch.tensor(2.0)) * picture)


def seen(n, seed, tokens=None):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4, n) / 2, rng.integers(1, 3, n) / 2
    y, deviations = (torch.tensor(x, dtype=torch.float32) for x in values)
    datasets, groups = torch.tensor(rng.integers(0, 2, n)), torch.tensor(rng.integers(0, 4, n))
    semantics = torch.tensor(rng.normal(size=(n, 3)), dtype=torch.float32)
    return Seen(tokens_of(n, seed=seed), semantics, y, deviations, datasets, groups)


@settings(max_examples=30)
@given(st.integers(1, 12), st.integers(0, 1000), st.sampled_from([0.1, 0.5, 1.0, 2.0]))
def test_partners_are_of_nearly_equal_score_and_the_farthest_semantics(n, seed, tolerance):
    images, candidates = seen(n, seed), seen(9, seed + 1)
    places, found = matched(images, candidates, tolerance)
    for i in range(n):
        allowed = {}
        for j in range(9):
            unit = float(images.deviations[i] + candidates.deviations[j]) / 2
            near = abs(float(images.y[i] - candidates.y[j])) <= tolerance * unit
            same = images.datasets[i] == candidates.datasets[j]
            if near and same and images.groups[i] != candidates.groups[j]:
                a, b = images.semantics[i], candidates.semantics[j]
                allowed[j] = float(a @ b / a.norm() / b.norm())
        assert bool(found[i]) == bool(allowed)
        if allowed:
            assert allowed[int(places[i])] == pytest.approx(min(allowed.values()), abs=1e-6)


def test_a_memory_holds_the_last_images_and_is_taken_up():
    memory = Memory(5)
    parts = [seen(3, k) for k in range(3)]
    assert memory.with_batch(parts[0]) is parts[0]
    for part in parts:
        memory.remember(part)
    kept = torch.cat([parts[2].y, parts[1].y[:2]])
    assert torch.equal(memory.seen.y, kept)
    again = Memory(5)
    again.load_state_dict(memory.state_dict())
    assert torch.equal(again.with_batch(parts[0]).tokens, memory.with_batch(parts[0]).tokens)
    again.load_state_dict([])
    assert again.seen is None


def test_the_gate_lets_half_of_the_noise_in_before_training_and_noise_has_no_slope():
    gate, tokens, noise = NoiseGate(8), tokens_of(), tokens_of(seed=1).requires_grad_()
    moved = gate(tokens, noise)
    torch.testing.assert_close(moved, tokens + noise.detach() / 2)
    moved.sum().backward()
    assert noise.grad is None
    torch.nn.init.normal_(gate.logit.weight)
    tokens.requires_grad_()
    gate(tokens, noise).sum().backward()
    torch.testing.assert_close(tokens.grad, torch.ones_like(tokens))  # none through the gate


class Known(Source):
    """Images that are places, and whose tokens are known."""

    def __init__(self, tokens):
        like = photos()
        super().__init__(like.images, replace(like.extraction, scales=(1.0,)), None)
        self.tokens = tokens

    def inputs(self, indices, seeds):
        return iter(list(indices))

    def whole(self):
        return self

    def rows(self, network, state, indices):
        return np.zeros((len(indices), 1), np.float32)

    def _shape(self, x):
        return ()

    def _run_together(self, network, inputs, grid):
        tokens = self.tokens[list(inputs)]
        return tokens[:, 0, :1], tokens


def known_tuner(tokens, **changes):
    numbers = {"epochs": 1, "batch_size": 16, "window_size": None, "learning_rate": 1e-3}
    numbers |= {"panel_learning_rate": 1e-2, "trained_last_stages": 0, "ranking": 0.0}
    numbers |= {"token_stages": 1, "token_grid": 1, "width": tokens.shape[2], "n_queries": 0}
    numbers |= {"residual": False, "matching": 1.0, "consistency": 1.0, "tolerance": 0.25}
    numbers |= {"memory": 64, "selection": 0.01, "token_matching": 0.0}
    return PanelTuner(PanelPlan(**numbers | changes), Known(tokens), np.arange(len(tokens)), 0)


def targets(y, places):
    n = len(places)
    known = (torch.tensor(y[places], dtype=torch.float32), torch.zeros(n).long(), torch.ones(n))
    return BatchTargets(*known, torch.zeros(n, 1), torch.zeros(n), torch.tensor(places), known[2])


def test_tokens_are_standardised_over_all_datasets():
    """Of images that lie one dataset behind the other; no more than 64 are looked at."""
    tokens = torch.cat([tokens_of(100), tokens_of(100) + 50.0])
    panel = known_tuner(tokens).panel
    with torch.no_grad():
        block = panel.tokens([tokens])
    assert abs(float(block[:100].mean() + block[100:].mean())) < 0.1
    assert float(block[100:].mean()) == pytest.approx(1.0, abs=0.05)


def test_the_gate_goes_uphill_and_the_panel_downhill():
    tokens, y = tokens_of(16), np.zeros(16)
    tuner = known_tuner(tokens, consistency=0.0, selection=None)
    torch.nn.init.ones_(tuner.panel.head.weight)
    goal, places = targets(y, np.arange(16)), list(range(16))

    def loss():
        with torch.no_grad():
            value = float(tuner._loss(places, goal))
        tuner.memory.seen = None
        return value

    before, weights = loss(), [p.detach().clone() for p in tuner.trained]
    tuner.step_on(places, goal, 1.0)
    tuner.memory.seen = None
    both = loss()
    for p, weight in zip(tuner.trained, weights, strict=True):
        p.data.copy_(weight)
    assert loss() > before  # the gate alone
    assert both < loss()  # and the panel


def trained_tuner(**changes):
    """Return a tuner of 16 images, whose panel says something, and what they are trained to."""
    tuner = known_tuner(tokens_of(16), residual=True, n_queries=2, **changes)
    rng = torch.Generator().manual_seed(1)
    torch.nn.init.normal_(tuner.panel.head.weight, generator=rng)
    goal = targets(np.arange(16) / 8, np.arange(16))
    ridge = {"coef": torch.full((16, 1), 0.5), "intercept": torch.linspace(-1, 1, 16)}
    return tuner, goal._replace(**ridge)


def loss_of(tuner, places, goal):
    with torch.no_grad():
        return float(tuner._loss(list(places), goal))


def of_images(goal, places):
    return BatchTargets(*(x[list(places)] for x in goal))


def test_the_loss_is_the_sum_that_the_parameters_name():
    weights = {"matching": 0.5, "consistency": 2.0, "selection": 0.1, "ranking": 0.3}
    tuner, goal = trained_tuner(tolerance=1.0, **weights)
    first, last = range(8), range(8, 16)  # memory knows the first when the last are seen
    loss_of(tuner, first, of_images(goal, first))
    value = loss_of(tuner, last, of_images(goal, last))
    panel = tuner.panel
    with torch.no_grad():
        tokens, ridge = panel.tokens([tuner.source.tokens]), goal.intercept
        ridge = ridge + 0.5 * tuner.source.tokens[:, 0, 0]
        clean = ridge + panel(tokens).mean(dim=1)
        pooled = torch.nn.functional.normalize(tokens.mean(dim=1), dim=1)
        parts = {name: [] for name in ("clean", "matching", "consistency", "selection")}
        remembered = False
        for i in last:
            near = [j for j in range(16) if j != i and abs(goal.y[i] - goal.y[j]) <= 1.0]
            partner = min(near, key=lambda j: float(pooled[i] @ pooled[j]))
            remembered |= partner in first
            added = tokens[partner] - tokens[i]
            noisy = ridge[i] + panel((tokens[i] + added / 2)[None]).mean()
            parts["clean"].append(smooth_l1_loss(clean[i], goal.y[i]))
            parts["matching"].append(smooth_l1_loss(noisy, goal.y[i]))
            parts["consistency"].append(smooth_l1_loss(noisy, clean[i]))
            parts["selection"].append(panel.selection(tokens[i][None]).mean())
        rows = list(last)
        ranking = fidelity_loss(clean[rows], goal.y[rows], goal.datasets[rows], goal.weights[rows])
    assert remembered
    expected = sum(weights.get(k, 1.0) * float(torch.stack(v).mean()) for k, v in parts.items())
    assert value == pytest.approx(expected + 0.3 * float(ranking), rel=1e-5)


def test_images_without_a_partner_are_left_out_of_the_noise():
    tuner, goal = trained_tuner(tolerance=0.01, selection=None)
    alone = loss_of(tuner, range(16), goal)
    without, _ = trained_tuner(matching=0.0, consistency=0.0, selection=None)
    assert alone == pytest.approx(loss_of(without, range(16), goal))


def test_each_part_of_the_loss_counts_images_by_their_weights():
    drawn = tokens_of(16, seed=2)
    source = SimpleNamespace(inputs=lambda indices, seeds: iter(indices))
    teacher = SimpleNamespace(source=source, pictured=lambda inputs: drawn[list(inputs)])
    one_part = [{name: 1.0} for name in ("matching", "consistency", "selection", "token_matching")]
    none = {"matching": 0.0, "consistency": 0.0, "selection": 0.0, "token_matching": 0.0}
    for part in [{}, *one_part]:
        values = []
        for weights in (torch.full((16,), 2.0), torch.linspace(0, 2, 16), torch.linspace(2, 0, 16)):
            tuner, goal = trained_tuner(**none | part)
            tuner.teacher = teacher
            pairs = list(tuner.inputs(range(16), range(16)))
            values.append(loss_of(tuner, pairs, goal._replace(weights=weights)))
        assert values[1] + values[2] == pytest.approx(values[0], rel=1e-5)
        assert values[1] != pytest.approx(values[2], rel=1e-3)
        if "token_matching" in part:  # in units of the teacher's tokens
            with torch.no_grad():
                ours = tuner.panel.pictured(tuner.panel.tokens([tuner.source.tokens]))
            apart = float((ours - drawn).square().mean() / drawn.square().mean())
            tuner.teacher = None
            without = loss_of(tuner, range(16), goal)
            assert values[0] - 2 * without == pytest.approx(2 * apart, rel=1e-4)


def test_a_student_sees_the_windows_that_its_teacher_sees():
    tuner, _ = trained_tuner()
    tuner.source = photos(window_size=24)
    tuner.teacher = SimpleNamespace(source=photos(window_size=24))
    for ours, theirs in tuner.inputs([0, 1, 2], iter([5, 6, 7])):
        np.testing.assert_array_equal(ours, theirs)


def test_scores_of_the_held_out_part_are_the_ridges_and_the_mean_of_votes():
    tuner, _ = trained_tuner()
    held_out = SimpleNamespace(indices=[3, 1], coef=np.array([0.5]))
    scores = tuner.held_out_scores(held_out, None)
    tokens = tuner.source.tokens[[3, 1]]
    with torch.no_grad():
        votes = tuner.panel(tuner.panel.tokens([tokens])).mean(dim=1)
    np.testing.assert_allclose(scores, 0.5 * tokens[:, 0, 0] + votes, rtol=1e-5)


def test_the_panel_has_a_rate_of_its_own():
    tuner, goal = trained_tuner()
    tuner.step_on(list(range(16)), goal, 0.5)
    assert tuner.optimizer.param_groups[-1]["lr"] == pytest.approx(0.5 * 1e-2)


def test_a_panel_is_trained_on_as_if_it_had_not_been_interrupted():
    def step(tuner, places):
        tuner.step_on(list(places), of_images(trained_tuner()[1], places), 1.0)

    parts = (range(6), range(6, 12), range(10, 16))
    whole, first, second = (trained_tuner()[0] for _ in range(3))
    for part in parts:
        step(whole, part)
    for part in parts[:2]:
        step(first, part)
    second.load_state_dict(first.state_dict())
    step(second, parts[2])
    changing = [
        [*run.trained, *run.average, *run.gates, *run.memory.seen] for run in (whole, second)
    ]
    assert (whole.gates[0] != 0).any()
    for ours, theirs in zip(*changing, strict=True):
        assert torch.equal(ours, theirs)


def leaking_set(n=600, n_channels=24, n_quality=8):
    """Tokens that show quality, disturbed by content, or content, which shows quality, too."""
    rng = np.random.default_rng(0)
    quality, content = rng.normal(size=n), rng.normal(size=(n, 3))
    mixing = rng.normal(size=(3, n_channels - n_quality))
    content[:, 0] = 0.6 * quality + 0.8 * content[:, 0]
    tokens = rng.normal(size=(n, 4, n_channels))
    tokens[..., :n_quality] += quality[:, None, None] + 0.3 * content[:, :1, None]
    tokens[..., n_quality:] = (content @ mixing)[:, None] + 0.3 * tokens[..., n_quality:]
    y = quality + 0.1 * rng.normal(size=n)
    return torch.tensor(tokens, dtype=torch.float32), y, np.arange(n_channels) < n_quality


def precision_and_recall(**changes):
    """Return those of the channels that a trained selector leaves more than half open."""
    tokens, y, shows_quality = leaking_set()
    tuner, rng = known_tuner(tokens, **changes), np.random.default_rng(1)
    for _ in range(300):
        places = rng.integers(0, len(y), 16)
        tuner.step_on(list(places), targets(y, places), 1.0)
    with torch.no_grad():
        chosen = tuner.panel.selection(tuner.panel.tokens([tokens])).mean(dim=0).numpy() > 0.5
    right = (chosen & shows_quality).sum()
    return right / chosen.sum(), right / shows_quality.sum()


def test_the_selector_finds_the_features_of_quality_by_matched_noise():
    precision, recall = precision_and_recall()
    assert precision >= 0.9
    assert recall >= 0.9
    without, _ = precision_and_recall(matching=0.0, consistency=0.0)
    assert without < 0.85 < precision
