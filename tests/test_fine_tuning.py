"""Fine-tuning: the losses by hand, which layers move, what an epoch sees."""

import errno
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.linear_model import Ridge

from skiqa._features.extract import extract
from skiqa._fine_tuned import FineTunedQualityRegressor
from skiqa._fine_tuning.heads import Target, cross_fitted, ridge_within
from skiqa._fine_tuning.held_out import Rated
from skiqa._fine_tuning.loop import batches
from skiqa._fine_tuning.losses import consistency_loss, fidelity_loss
from skiqa._fine_tuning.sources import KeptMaps, Photos, Recipe
from skiqa._fine_tuning.tuner import FineTuner, FineTuning, parameter_groups
from skiqa._inputs.containers import as_image_list
from skiqa._network.state import build, random_state_of, to_arrays
from skiqa.exceptions import ImageError

PLAN = FineTuning(
    epochs=1, batch_size=4, window_size=None, learning_rate=1e-3, layer_decay=0.5,
    trained_last_stages=2, averaging=0.9, start_penalty=0.0, ranking=0.0, semantic_noise=0.0,
)  # fmt: skip
STATE = random_state_of("test_efficientnet", 0)
CPU = torch.device("cpu")


def plan(**changes):
    return FineTuning(**(vars(PLAN) | changes))


def windows(n=4, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (n, 64, 64, 3), np.uint8))


def source(images=(), scales=(1.0, 0.5), pooling="stages", window_size=None):
    recipe = Recipe(STATE, scales, pooling, CPU, "float32")
    return Photos(as_image_list(list(images) or windows()), recipe, None, window_size)


def network():
    return build(STATE).eval()


def tuner(**changes):
    width = source().features(network(), windows(1)).shape[1]
    return FineTuner(build(STATE), plan(**changes), source(), width)


def arrays(run):
    with run.averaged() as averaged:
        return to_arrays(averaged.model)


def target(y, width):
    coef = np.random.default_rng(1).normal(size=width)
    coef = torch.tensor(coef, dtype=torch.float32).expand(len(y), -1)
    return Target(torch.tensor(y), torch.zeros(len(y)).long(), coef, torch.zeros(len(y)))


def test_fidelity_by_hand():
    """LIQE's 1 - sqrt(p q) - sqrt((1 - p)(1 - q)) with p = 1 for the better of a pair."""
    predictions, y = np.array([0.3, -1.0, 2.0, 0.1]), np.array([1.0, 2.0, 3.0, 3.0])
    datasets = np.array([0, 0, 0, 1])
    pairs = [(1, 0), (2, 0), (2, 1)]
    win = [norm.cdf((predictions[a] - predictions[b]) / math.sqrt(2)) for a, b in pairs]
    loss = fidelity_loss(*map(torch.from_numpy, (predictions, y, datasets)))
    assert float(loss) == pytest.approx(np.mean([1 - math.sqrt(p) for p in win]))


def test_fidelity_has_finite_slopes_where_the_order_is_badly_wrong():
    predictions = torch.tensor([300.0, -300.0], requires_grad=True)
    fidelity_loss(predictions, torch.tensor([0.0, 1.0]), torch.tensor([0, 0])).backward()
    assert torch.isfinite(predictions.grad).all()


def test_consistency_is_zero_behind_a_shut_gate_and_grows_with_it():
    rows, weight = torch.randn(6, 5, generator=torch.manual_seed(0)), torch.ones(3, 5)
    losses = [float(consistency_loss(rows, weight, torch.full((5,), g))) for g in (0, 0.5, 1)]
    assert losses[0] == 0 < losses[1] < losses[2]


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_vit"])
def test_last_stages_move_the_deeper_the_faster(backbone):
    network = build(random_state_of(backbone, 0))
    groups = parameter_groups(network, PLAN)
    assert [group["factor"] for group in groups] == [1.0, 0.5]
    moving = {id(p) for group in groups for p in group["params"]}
    assert moving == {id(p) for p in network.parameters() if p.requires_grad}
    assert len(moving) < len(list(network.parameters()))
    every = parameter_groups(network, plan(trained_last_stages=None))
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    trained = sum(len(group["params"]) for group in every)
    assert trained == len(list(network.parameters())) - len(norms)
    with pytest.raises(ValueError, match="stages"):
        parameter_groups(network, plan(trained_last_stages=99))


def test_only_trained_weights_move_and_batchnorm_statistics_stay():
    run = tuner()
    before = {k: v.clone() for k, v in run.network.model.state_dict().items()}
    moving = {k for k, p in run.network.model.named_parameters() if p.requires_grad}
    for _ in range(2):
        run.step_on(windows(), target([0.0, 1, 2, 3], len(run.gate)), 1.0)
    after = run.network.model.state_dict()
    assert {k for k in before if not torch.equal(before[k], after[k])} == moving


def test_training_lowers_the_loss():
    run = tuner(averaging=0.0, learning_rate=1e-2)
    goal = target([0.0, 1.0, -1.0, 0.5], len(run.gate))
    losses = [run.step_on(windows(), goal, 1.0) for _ in range(30)]
    assert losses[-1] < losses[0] / 2


def test_an_endless_pull_holds_the_network_at_its_start():
    run = tuner(start_penalty=1e9)
    before = arrays(run)
    run.step_on(windows(), target([0.0, 1, 2, 3], len(run.gate)), 1.0)
    for name, array in arrays(run).items():
        np.testing.assert_array_equal(array, before[name])


def test_weights_are_averaged_over_steps_and_return_to_training():
    run = tuner(averaging=0.2)
    weight = run.trained[0]
    average = weight.detach().clone()
    for step in (1, 2, 3, 4):
        run.step_on(windows(), target([0.0, 1, 2, 3], len(run.gate)), 1.0)
        decay = min(0.2, step / (step + 10))  # the first steps leave the start behind sooner
        average = decay * average + (1 - decay) * weight.detach()
    last = weight.detach().clone()
    assert (last - average).abs().max() > 1e-4
    with run.averaged():
        torch.testing.assert_close(weight.detach(), average, rtol=0, atol=1e-7)
    assert torch.equal(weight, last)


def test_gate_opens_where_the_noise_does_harm():
    run = tuner(semantic_noise=1.0)
    goal = target([0.0] * 4, len(run.gate))
    run.step_on(windows(), goal, 1.0)
    with torch.no_grad():
        assert (run.gate != 0).any()
        images, partners = source().features(network(), windows()).chunk(2)
        noise = (partners - images) * goal.coef[0]
        slope = ((0.5 * noise).sum(1).clamp(-1, 1)[:, None] * noise).mean(0)
    clear = slope.abs() > 1e-2 * slope.abs().max()
    assert torch.equal(run.gate[clear].sign(), slope[clear].sign())


def test_windows_are_mirrored_at_even_odds():
    (image,) = windows(1)
    views = list(source([image], window_size=64).views([0] * 40, range(40)))
    mirrored = [np.array_equal(view, image[:, ::-1]) for view in views]
    assert all(m or np.array_equal(view, image) for m, view in zip(mirrored, views, strict=True))
    assert 10 < sum(mirrored) < 30


def test_views_of_any_size_and_one_size_agree():
    images = windows(3)
    mixed = source().features(network(), [*images, images[0][:40]])[:3]
    torch.testing.assert_close(mixed, source().features(network(), images))


@pytest.mark.parametrize("pooling", ["stages", "avg"])
@pytest.mark.parametrize("trained_last_stages", [1, 2, 5])
def test_kept_maps_give_the_features_of_photos(tmp_path, pooling, trained_last_stages):
    """Of both mirror images, of photos of two sizes; as the encoder's up to half precision."""
    images = [*windows(3), windows(1)[0][:48]]
    photos = source(images, pooling=pooling)
    kept = KeptMaps(photos.images, photos.recipe, None, trained_last_stages, tmp_path)
    assert len(network().split()[1]) == 5
    indices, seeds = [3, 0, 0, 1], [0, 0, 1, 7]
    for _ in range(2):  # computed, then read
        rows = [s.features(network(), list(s.views(indices, seeds))) for s in (kept, photos)]
        torch.testing.assert_close(
            *rows, rtol=5e-3, atol=5e-3 * float(rows[1].detach().abs().max())
        )
    whole = [s.rows(network(), STATE, [1, 3]) for s in (kept, photos)]
    np.testing.assert_allclose(*whole, rtol=5e-3, atol=5e-3 * np.abs(whole[1]).max())
    options = {"scales": photos.recipe.scales, "pooling": pooling, "device": CPU}
    rows = extract(photos.images, state=STATE, precision="float32", n_jobs=None,
                   on_error="raise", indices=[1, 3], **options)  # fmt: skip
    np.testing.assert_array_equal(whole[1], [row for _, row in rows])


def test_maps_of_one_network_are_not_those_of_another(tmp_path):
    photos = source(windows(2))
    for seed in (0, 1):
        state = random_state_of("test_efficientnet", seed)
        recipe = Recipe(state, photos.recipe.scales, "stages", CPU, "float32")
        kept = KeptMaps(photos.images, recipe, None, 2, tmp_path).rows(
            build(state).eval(), state, [0, 1]
        )
        rows = Photos(photos.images, recipe, None, None).rows(None, state, [0, 1])
        np.testing.assert_allclose(kept, rows, rtol=5e-3, atol=5e-3 * np.abs(rows).max())


def test_kept_maps_of_a_full_disk(tmp_path, monkeypatch):
    def full(file, **arrays):
        file.write(b"torn")
        raise OSError(errno.ENOSPC, "No space left on device")

    kept = KeptMaps(source().images, source().recipe, None, 2, tmp_path)
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match=r"no room for the maps of X\[0\] .* all 4 images .* GB"):
        list(kept.views([0], [0]))
    assert not list(tmp_path.glob("*/*"))


def test_a_damaged_file_of_maps_is_made_again(tmp_path):
    kept = KeptMaps(source().images, source().recipe, None, 2, tmp_path)
    [first] = kept.views([1], [0])
    [file] = tmp_path.glob("*/*.npz")
    for damage in (b"", file.read_bytes()[:-200], b"no archive"):
        file.write_bytes(damage)
        [again] = kept.views([1], [0])
        np.testing.assert_array_equal(again.maps[0], first.maps[0])
        assert len(file.read_bytes()) > 200


@pytest.mark.parametrize("kind", ["photos", "maps"])
def test_large_batches_have_the_same_slopes_in_the_memory_of_one(tmp_path, monkeypatch, kind):
    images = source()
    if kind == "maps":
        images = KeptMaps(images.images, images.recipe, None, 2, tmp_path)
    slopes, sizes = [], []

    def note_size(tensor):
        sizes[-1] += tensor.nbytes
        return tensor

    for budget in (10**9, 0):
        monkeypatch.setattr("skiqa._fine_tuning.sources._BUDGET", budget)
        trained = network()
        groups = parameter_groups(trained, PLAN)
        views = list(images.views(range(4), range(4)))
        sizes.append(0)  # of what waits for the slopes
        with torch.autograd.graph.saved_tensors_hooks(note_size, lambda tensor: tensor):
            rows = images.features(trained, views)
        rows.square().sum().backward()
        slopes.append([p.grad for group in groups for p in group["params"]])
    for a, b in zip(*slopes, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-4 * float(a.abs().max()))
    assert sizes[1] < 0.1 * sizes[0]


def test_a_photo_that_memory_cannot_hold_is_named(monkeypatch):
    monkeypatch.setattr("skiqa._network.tiles.available_memory", lambda: 1000)
    monkeypatch.setattr("skiqa._network.tiles.TILED_ABOVE", 64 * 64)
    images = [*windows(2), np.zeros((96, 96, 3), np.uint8)]
    with pytest.raises(ImageError, match=r"X\[2\] = .* 96 x 96 .* window_size"):
        list(source(images).views([0, 1, 2], [0] * 3))
    assert len(list(source(images, window_size=64).views([0, 1, 2], [0] * 3))) == 3


def test_maps_beyond_half_precision_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("skiqa._fine_tuning.sources._run", lambda stages, x: iter([x * 1e9]))
    kept = KeptMaps(source().images, source().recipe, None, 2, tmp_path)
    with pytest.raises(ValueError, match=r"X\[2\] = .* float16"):
        list(kept.views([2], [0]))


def test_training_goes_on_as_if_it_had_not_been_interrupted():
    whole, first = (tuner(start_penalty=50.0, trained_last_stages=2) for _ in range(2))
    goal = target([0.0, 1, 2, 3], len(whole.gate))
    for factor in (1.0, 0.5):
        whole.step_on(windows(), goal, factor)
    first.step_on(windows(), goal, 1.0)
    second = tuner(start_penalty=50.0, trained_last_stages=2)
    second.restore(first.content())
    second.step_on(windows(), goal, 0.5)
    for a, b in zip(whole.trained, second.trained, strict=True):
        assert torch.equal(a, b)


def test_partners_are_of_equal_quality_across_datasets():
    """Equal standardised y on different levels: a bad database and a good one."""
    rng = np.random.default_rng(0)
    datasets = np.arange(400) % 2
    quality = rng.normal(size=400) + 4.0 * datasets
    rows = np.column_stack([quality, rng.normal(size=(400, 20))]).astype(np.float32)
    y = quality - 4.0 * datasets
    data = Rated(None, y, np.arange(400), datasets)
    stub = SimpleNamespace(plan=PLAN, source=source())
    model = FineTunedQualityRegressor(semantic_noise=1.0)
    one_epoch, _ = model._one_epoch(stub, rows, data, np.arange(400), 0)
    partners = one_epoch.args[3]
    assert np.abs(quality[partners] - quality).mean() < 0.5


def test_a_head_has_not_seen_its_images():
    rng = np.random.default_rng(0)
    rows, groups = rng.normal(size=(60, 5)), np.arange(60) // 2
    y, datasets = rng.normal(size=60), np.arange(60) % 2
    heads = cross_fitted(rows, y, groups, datasets, 2, 1.0, 0)
    assert heads.coef.shape == (5, 5)
    for k in range(5):
        seen = heads.chosen != k
        assert not set(groups[seen]) & set(groups[~seen])
        coef, intercept = ridge_within(rows[seen], y[seen], datasets[seen], 2, 1.0)
        np.testing.assert_array_equal(heads.coef[k], coef)
        np.testing.assert_array_equal(heads.intercept[k], intercept)
    goal = heads.target(y, datasets, np.array([7, 2]), CPU)
    np.testing.assert_allclose(goal.coef, heads.coef[heads.chosen[[7, 2]]], rtol=1e-6)
    expected = [heads.intercept[heads.chosen[7], 1], heads.intercept[heads.chosen[2], 0]]
    np.testing.assert_allclose(goal.intercept, expected, rtol=1e-6)
    np.testing.assert_allclose(goal.y, y[[7, 2]], rtol=1e-6)
    assert goal.datasets.tolist() == [1, 0]


def test_ridge_within_is_a_ridge_with_indicators_of_the_datasets():
    rng = np.random.default_rng(0)
    rows, y, datasets = rng.normal(size=(40, 3)), rng.normal(size=40), np.arange(40) % 3
    coef, intercept = ridge_within(rows, y, datasets, 3, 2.0)
    # the indicators are hardly penalised: they are large
    wide = Ridge(2.0, fit_intercept=False).fit(np.hstack([rows, 1e5 * np.eye(3)[datasets]]), y)
    np.testing.assert_allclose(coef, wide.coef_[:3], rtol=1e-6)
    np.testing.assert_allclose(intercept, 1e5 * wide.coef_[3:], rtol=1e-6)
    plain = Ridge(2.0).fit(rows, y)
    coef, intercept = ridge_within(rows, y, np.zeros(40, int), 1, 2.0)
    np.testing.assert_allclose(np.append(coef, intercept), np.append(plain.coef_, plain.intercept_))


def test_an_epoch_sees_each_image_once_and_partners_beside_them():
    parts = batches(0, 0, 12, 4)
    assert sorted(np.concatenate(parts)) == list(range(12))
    partners = np.roll(np.arange(12), 1)
    parts = batches(0, 0, 12, 4, partners)
    assert sorted(np.concatenate([p[:2] for p in parts])) == list(range(12))
    assert all((partners[p[:2]] == p[2:]).all() for p in parts)
