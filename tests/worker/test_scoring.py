"""What samples were drawn from: temperatures of their own, components, likelihoods."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdflow import SDFlow, TiledEngine
from sdflow.geometry import Region, Size
from sdflow.images.tensor import to_network
from sdflow.model.config import SMALL
from sdflow.noise import NoiseKey, component, gaussian_field
from sdflow.tiling.grid import plan_grid
from sdflow.worker.drawing import Drawer
from sdflow.worker.limits import Limits
from sdflow.worker.network import TileResult, temperature
from sdflow.worker.photo import Draw, Drawing, Drawn, Photo, joined
from sdflow.worker.planning import Plan
from sdflow.worker.scoring import plan_counted, sum_cells
from tests.model.seeded import TINY, photo, seeded_model
from tests.worker.test_parts import cut

_MODEL = seeded_model(TINY)
_SCORED = Drawing("downscale", seed=3, tau=0.2, samples=(0, 2, 5), tau_to=0.9, scores=True)


def _drawn(engine: TiledEngine, drawing: Drawing, *photos: Photo) -> dict[str, Drawn]:
    results = {}
    for index, result in engine.draw(drawing, photos):
        assert isinstance(result, Drawn), result
        results[photos[index].key] = result
    return results


def _log_probs(drawn: Drawn) -> list[float]:
    return [draw.log_prob for draw in drawn.draws]


def _likelihood(model: SDFlow, one: Photo, sample: int) -> float:
    """The training form's, of the values before they are rounded to levels."""
    size = one.size.divided(4)
    owner = NoiseKey(_SCORED.seed, one.key, sample)
    field = gaussian_field(owner, Region(0, 0, size.height // 2, size.width // 2), 12)
    kind = torch.tensor([component(owner, model.config.mixture_components)])
    with torch.inference_mode():
        hr = to_network(one.pixels[None], device="cpu", dtype=torch.float64)
        content, tau = model.hr_flow.content(hr), temperature(_SCORED, owner)
        lr = model.downscale(hr, tau=tau, noise=field[None].double(), component=kind)
        latent, log_det = model.content_flow(lr)
        return float(log_det + model.deg_flow.log_prob(latent - content, content))


def test_temperatures_lie_in_their_range_and_belong_to_seed_key_and_sample() -> None:
    owners = [NoiseKey(1, f"{number // 4}.png", number % 4) for number in range(400)]
    taus = [temperature(_SCORED, owner) for owner in owners]
    assert taus == [temperature(_SCORED, owner) for owner in owners]
    assert len(set(taus)) == len(taus)
    assert min(taus) >= 0.2
    assert max(taus) <= 0.9
    assert abs(np.mean(taus) - 0.55) < 0.05
    assert {temperature(replace(_SCORED, tau_to=None), owner) for owner in owners} == {0.2}


@pytest.mark.parametrize("task", ["upscale", "downscale"])
@pytest.mark.parametrize("tau", [0.0, 0.7])
def test_range_of_one_temperature_gives_the_pixels_of_that_temperature(
    task: str, tau: float
) -> None:
    plain = Drawing("upscale" if task == "upscale" else "downscale", 3, tau, (0, 1))
    photos = [Photo("a", photo(40, 56)), Photo("b", photo(40, 56, seed=1))]
    engine = TiledEngine(_MODEL)
    expected = _drawn(engine, plain, *photos)
    for key, drawn in _drawn(engine, replace(plain, tau_to=tau), *photos).items():
        for one, other in zip(drawn.samples, expected[key].samples, strict=True):
            assert np.array_equal(one, other)


def test_sample_is_drawn_at_its_own_temperature_and_says_so() -> None:
    one, engine = Photo("k", photo(64, 48)), TiledEngine(_MODEL)
    drawn = _drawn(engine, _SCORED, one)["k"]
    for sample, draw, pixels in zip(_SCORED.samples, drawn.draws, drawn.samples, strict=True):
        owner = NoiseKey(_SCORED.seed, "k", sample)
        assert draw.tau == temperature(_SCORED, owner)
        assert draw.component == component(owner, TINY.mixture_components)
        alone = engine.downscale(one.pixels, key="k", seed=3, tau=draw.tau, sample=sample)
        assert np.array_equal(pixels, alone)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_scores_change_no_pixel_and_come_only_where_asked(precision: str) -> None:
    one, engine = Photo("k", photo(90, 130)), TiledEngine(_MODEL, tile=16, precision=precision)
    scored, plain = (_drawn(engine, replace(_SCORED, scores=on), one)["k"] for on in (True, False))
    assert plain.draws == ()
    for here, there in zip(scored.samples, plain.samples, strict=True):
        assert np.array_equal(here, there)


def test_score_is_the_likelihood_of_the_training_form() -> None:
    exact = seeded_model(TINY).double()
    one = Photo("k", photo(64, 96))
    drawn = _drawn(TiledEngine(exact), _SCORED, one)["k"]
    expected = [_likelihood(exact, one, sample) for sample in _SCORED.samples]
    np.testing.assert_allclose(_log_probs(drawn), expected, rtol=1e-8)


@pytest.mark.parametrize(("height", "width"), [(300, 523), (93, 61), (697, 5), (3, 2)])
@pytest.mark.parametrize("halo", [None, 24])
def test_tiles_have_the_score_of_the_whole(height: int, width: int, halo: int | None) -> None:
    one = Photo("k", photo(height, width))
    whole = _drawn(TiledEngine(_MODEL, tile=1 << 20), _SCORED, one)["k"]
    tiled = _drawn(TiledEngine(_MODEL, tile=32, halo=halo), _SCORED, one)["k"]
    np.testing.assert_allclose(_log_probs(tiled), _log_probs(whole), rtol=1e-4)
    shrunk = TiledEngine(_MODEL, tile=96, limits=Limits(1, tile=16))
    np.testing.assert_allclose(
        _log_probs(_drawn(shrunk, _SCORED, one)["k"]), _log_probs(whole), rtol=1e-4
    )


@pytest.mark.parametrize("halo", [None, 24])
def test_scores_of_parts_add_up_to_that_of_the_whole(halo: int | None) -> None:
    engine, pixels = TiledEngine(_MODEL, tile=32, halo=halo), photo(4 * 123 - 3, 4 * 91 - 1)
    draws: tuple[Draw, ...] = ()
    parts = cut(engine, "k", pixels, "downscale", 40 * 40)
    for part in parts:
        draws = joined(draws, _drawn(engine, _SCORED, part)["k"].draws)
    assert len(parts) > 1
    whole = _drawn(engine, _SCORED, Photo("k", pixels))["k"].draws
    np.testing.assert_allclose(
        [draw.log_prob for draw in draws], [draw.log_prob for draw in whole], rtol=1e-12
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_neighbours_in_a_batch_their_order_and_threads_change_no_score(precision: str) -> None:
    sizes = [(80, 80), (36, 124), (80, 80), (180, 100), (80, 80), (1, 1)]
    photos = [Photo(f"{n}", photo(*size, seed=n)) for n, size in enumerate(sizes)]
    engine = TiledEngine(seeded_model(SMALL), tile=24, halo=8, precision=precision)
    alone = {one.key: _drawn(engine, _SCORED, one)[one.key].draws for one in photos}
    assert {k: drawn.draws for k, drawn in _drawn(engine, _SCORED, *photos).items()} == alone
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        mixed = _drawn(engine, _SCORED, *photos[::-1])
    finally:
        torch.set_num_threads(threads)
    assert {key: drawn.draws for key, drawn in mixed.items()} == alone


def test_drawer_passes_on_what_was_drawn_from() -> None:
    one = Photo("k", photo(40, 40))
    ((_, image),) = Drawer(TiledEngine(_MODEL)).draw(_SCORED, [one])
    assert not isinstance(image, Exception)
    assert image.draws == _drawn(TiledEngine(_MODEL), _SCORED, one)["k"].draws


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"task": "upscale"}, "only downscaling"),
        ({"tau_to": 0.1}, "from tau"),
        ({"tau_to": 1.1}, "to 1"),
    ],
)
def test_drawings_that_cannot_be_are_refused(wrong: dict[str, object], message: str) -> None:
    drawing = replace(_SCORED, **wrong)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match=message):
        list(TiledEngine(_MODEL).draw(drawing, [Photo("k", photo(8, 8))]))


def test_mended_tile_tells_of_the_samples_it_kept() -> None:
    core = np.zeros((2, 2, 3), np.uint8)
    half = TileResult((core, core), (True, False), (Draw(0.1, 0, 1.0), Draw(0.2, 1, np.nan)))
    exact = TileResult((core, core), (True, True), (Draw(0.1, 0, 5.0), Draw(0.2, 1, 6.0)))
    assert half.mended(exact).draws == (Draw(0.1, 0, 1.0), Draw(0.2, 1, 6.0))
    silent = replace(half, draws=())
    assert silent.mended(replace(exact, draws=())).draws == ()


@settings(max_examples=40)
@given(
    st.integers(1, 90), st.integers(1, 90), st.integers(5, 20), st.integers(0, 6), st.integers(0, 4)
)
def test_every_pixel_counts_once(
    height: int, width: int, tile: int, halo: int, overlap: int
) -> None:
    size = Size(height, width)
    padded = size.padded_to(multiple_of=2, minimum=4)
    grid = plan_grid(padded, tile=2 * tile, halo=2 * halo, overlap=2 * overlap, multiple_of=2)
    counts = np.zeros((height, width), int)
    plan = Plan(grid, Region(0, 0, height, width))
    for piece, counted in zip(grid.tiles(), plan_counted(plan), strict=True):
        if counted:
            assert piece.core.contains(counted)
            assert counted.y % 2 == counted.x % 2 == 0
            counts[counted.slices] += 1
    assert (counts == 1).all()


def test_cells_that_the_border_cuts_count_whole() -> None:
    values = np.arange(12.0).reshape(3, 4)
    window = Region(4, 6, 6, 8)
    assert sum_cells(values, Region(6, 8, 3, 1), window) == 5 + 9
    assert sum_cells(values, Region(4, 6, 6, 8), window) == values.sum()
    assert sum_cells(values, None, window) == 0
