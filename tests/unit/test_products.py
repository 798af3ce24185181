"""What a product comes to for a person, and which ones fit: what is not said is not known, and never zero."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.products import Choice, Sort, Wanted, choice, ordered, select
from runner.vram import MODELS, vram_gb
from tests.properties import examples
from workers.cloud.shapes import Product


def product(
    name: str, price: int | None = 1_000_000, capacity: int | None = 1, description: str = ""
) -> Product:
    return Product(name, description, price, capacity, (), None, None, None)


L40 = product("gpu_1x_l40", 860_000)
PAIR = product("gpu_2x_a6000_nvlink", 1_140_001)
DGX = product("gpu_8x_DGX_A100", 10_240_000, description="8x DGX A100 (640GB)")
SPOT = product("gpu_1x_a5000_spot", 220_000)
GONE = product("gpu_1x_v100", 100_000, 0, "1x V100 (16GB)")
CPU = product("cpu_small_amd_epyc", 80_000)
BARE = product("mystery", None, None)
ALL = (GONE, BARE, DGX, CPU, PAIR, SPOT, L40)


def names(choices: list[Choice]) -> list[str]:
    return [item.product.name for item in choices]


def fit(**wanted: object) -> tuple[set[str], int]:
    found, unknown = select(map(choice, ALL), Wanted(**wanted))  # type: ignore[arg-type]
    return set(names(found)), unknown


@pytest.mark.parametrize(
    ("name", "description", "gpus", "wanted"),
    [
        ("gpu_1x_l40", "1x L40 (48GB)", 1, 48),
        ("gpu_1x_l40s", "", 1, 48),
        ("gpu_1x_l4", "", 1, 24),
        ("gpu_2x_a6000_nvlink", "2x RTX A6000 NVLink (96GB)", 2, 48),
        ("gpu_1x_a6000_high_ram", "1x RTX A6000, 256 GB RAM", 1, 48),
        ("gpu_1x_rtx6000ada", "", 1, 48),
        ("gpu_1x_rtx_pro_6000", "", 1, 96),
        ("gpu_1x_h100_nvl", "", 1, 94),
        ("gpu_8x_h200_sxm5", "", 8, 141),
        ("product 7", "8x DGX A100 (640GB)", 8, 80),
        ("gpu_8x_a100", "8x A100 (40 GB SXM4)", 8, 40),
        ("gpu_8x_a100_80gb_sxm4", "", 8, 80),
        ("gpu_1x_a100", "", 1, None),
        ("gpu_2x_a100", "2x A100 (80GB)", 2, None),  # two of 40, or of 80 each
        ("gpu_1x_x9", "1x X9 (12 GB), 64 GB RAM, 512GB SSD", 1, 12),
        ("gpu_1x_x9", "1x X9 (12GB) 24GB", 1, None),
        ("gpu_4x_x9", "4x X9 (12GB)", 4, None),
        ("gpu_1x_x9", "", 1, None),
        ("cpu_small", "AMD EPYC (16GB)", 0, None),
        ("gpu_1x_ultra40", "a new one", 1, None),
        ("something", "an A100 (80GB)", None, 80),
    ],
)
def test_vram(name: str, description: str, gpus: int | None, wanted: int | None) -> None:
    assert vram_gb(name, description, gpus) == wanted


def test_a_longer_name_of_a_model_stands_before_a_shorter_one() -> None:
    models = list(MODELS)
    for number, model in enumerate(models):
        assert not [later for later in models[number:] if later != model and later.startswith(f"{model} ")]


@examples
@given(st.text(), st.text(), st.none() | st.integers(0, 9999))
def test_no_text_makes_the_reader_stumble(name: str, description: str, gpus: int | None) -> None:
    found = vram_gb(name, description, gpus)
    assert found is None or found > 0
    made = choice(product(name, description=description))
    assert made.price_per_gpu is None or made.gpus


def test_what_a_product_comes_to() -> None:
    pair = choice(PAIR)
    assert (pair.gpus, pair.vram_gb, pair.price_per_gpu, pair.in_stock) == (2, 48, 570_001, True)
    cpu = choice(CPU)
    assert (cpu.gpus, cpu.vram_gb, cpu.price_per_gpu) == (0, None, None)
    bare = choice(BARE)
    assert (bare.gpus, bare.vram_gb, bare.price_per_gpu, bare.in_stock) == (None, None, None, None)
    assert choice(product("new", description="4x New One")).gpus == 4
    assert choice(GONE).in_stock is False


def test_filters() -> None:
    everything = {item.name for item in ALL}
    assert fit() == (everything, 0)
    assert fit(name="A6000") == ({PAIR.name}, 0)
    assert fit(min_vram=48) == ({L40.name, PAIR.name, DGX.name}, 1)
    assert fit(gpus=1) == ({L40.name, SPOT.name, GONE.name}, 1)
    assert fit(gpus=0) == ({CPU.name}, 1)
    assert fit(max_price=220_000) == ({SPOT.name, GONE.name, CPU.name}, 1)
    assert fit(spot=True) == ({SPOT.name}, 0)
    assert fit(spot=False) == (everything - {SPOT.name}, 0)
    assert fit(in_stock=True) == (everything - {GONE.name}, 0)  # an unknown stock may be there
    assert fit(min_vram=48, gpus=2, max_price=2_000_000, spot=False) == ({PAIR.name}, 1)
    assert fit(name="nothing like it", gpus=1) == (set(), 0)


def test_orders() -> None:
    choices = [choice(item) for item in ALL]
    assert names(ordered(choices))[0] == CPU.name
    assert names(ordered(choices))[-2:] == [BARE.name, GONE.name]
    assert names(ordered(choices, reverse=True)) == names(ordered(choices))[::-1]
    assert names(ordered(choices, Sort.NAME)) == sorted(item.name for item in ALL)
    assert names(ordered(choices, Sort.PRICE))[:2] == [CPU.name, GONE.name]
    assert names(ordered(choices, Sort.PRICE_PER_GPU))[0] == GONE.name
    assert names(ordered(choices, Sort.VRAM))[:3] == [GONE.name, SPOT.name, L40.name]
    assert names(ordered(choices, Sort.GPUS))[:2] == [CPU.name, GONE.name]


@pytest.mark.parametrize("by", [Sort.PRICE, Sort.PRICE_PER_GPU, Sort.VRAM, Sort.GPUS])
@pytest.mark.parametrize("reverse", [False, True])
def test_what_is_not_known_stands_last_in_every_order(by: Sort, reverse: bool) -> None:
    assert names(ordered([choice(item) for item in ALL], by, reverse))[-1] == BARE.name


def test_among_equals_the_cheapest_stands_first_also_in_reverse() -> None:
    dear, cheap = product("gpu_1x_l40s", 990_000), L40
    for reverse in (False, True):
        assert names(ordered(map(choice, (dear, cheap)), Sort.VRAM, reverse)) == [cheap.name, dear.name]
