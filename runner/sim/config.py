"""What a simulated cloud consists of: its tokens, products, images, coupons and where it keeps its machines.

The defaults are the ones that `runner sim` documents: boot in 2 s, `gpu_1x_l40` and the default image among
others, no faults. Names, prices and oddities are those seen on the real service.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from runner.sim.faults import Faults


def _new_token() -> str:
    """Nobody else on this computer knows it: whoever has it runs commands as whoever started the cloud."""
    return f"sim-{secrets.token_urlsafe(24)}"


@dataclass(frozen=True)
class Product:
    """One line of the inventory. *capacity*: how many can be rented at once; prices are US cents an hour."""

    name: str
    description: str
    price_cents: int
    capacity: int
    gpu_count: int = 1
    vcpus: int = 16
    memory_gib: int = 64
    storage_gb: int = 512
    region: tuple[str, str] = ("us-central-3", "Des Moines, IA")


@dataclass(frozen=True)
class Image:
    """One image of the account."""

    id: int
    name: str
    description: str = ""


@dataclass(frozen=True)
class Coupon:
    """A coupon: *discount* is a fraction (0.1 is ten percent); it applies to *products* only."""

    code: str
    discount: str
    products: tuple[str, ...]
    deactivation: datetime = datetime(2099, 1, 1, tzinfo=UTC)


def default_products() -> tuple[Product, ...]:
    """A small inventory with the service's naming: counts, capitals, spot and CPU-only products."""
    return (
        Product("gpu_1x_l40", "1x L40 (48GB)", 86, 40),
        Product("gpu_1x_l40s", "1x L40S (48GB)", 99, 8),
        Product("gpu_1x_a6000", "1x RTX A6000 (48GB)", 57, 8, vcpus=6, memory_gib=48, storage_gb=256),
        Product("gpu_2x_a6000_nvlink", "2x RTX A6000 NVLink (96GB)", 114, 4, gpu_count=2, vcpus=12),
        Product("gpu_1x_a5000_spot", "1x RTX A5000 (24GB) [Spot]", 22, 4, vcpus=6, memory_gib=32),
        Product("gpu_1x_h100", "1x H100 PCIe (80GB)", 235, 4, vcpus=20, memory_gib=128, storage_gb=1024),
        Product("gpu_8x_DGX_A100", "8x DGX A100 (640GB)", 1024, 1, gpu_count=8, vcpus=252, memory_gib=1024),
        Product("gpu_1x_v100", "1x V100 (16GB)", 22, 0, vcpus=6, memory_gib=32),
        Product("cpu_small_amd_epyc", "AMD EPYC (CPU only)", 8, 8, gpu_count=0, vcpus=4, memory_gib=16),
    )


def default_images() -> tuple[Image, ...]:
    """The images seen on accounts; their ids differ between accounts, so look them up by name."""
    return (
        Image(84, "Ubuntu Server 22.04 w/ drivers", "Ubuntu Server 22.04 with NVIDIA drivers and CUDA"),
        Image(184, "Ubuntu Server 24.04", "Ubuntu Server 24.04 without drivers"),
        Image(91, "Ubuntu Desktop 22.04", "Ubuntu Desktop 22.04 with NVIDIA drivers"),
    )


def default_coupons() -> tuple[Coupon, ...]:
    """One coupon that is valid and one whose date is past."""
    return (
        Coupon("TestCoupon", "0.1", ("gpu_1x_l40", "gpu_1x_a6000")),
        Coupon("OldCoupon", "0.5", ("gpu_1x_l40",), datetime(2020, 1, 1, tzinfo=UTC)),
    )


@dataclass
class SimConfig:
    """How a simulated cloud starts. Seconds where a name ends in `_seconds`; *port* 0 takes a free one.

    *folder* is used and kept if given, else a temporary one is made and removed. *shell* runs the commands of
    SSH and of startup. *openssh* puts OpenSSH's own `sshd` before each machine, not the built-in server;
    logins are then as the current user, whose password is never taken, and `ssh_drop_after_bytes` does not
    work.
    Each cloud makes tokens of its own unless they are given; *more_tokens* may do everything too.
    """

    port: int = 0
    boot_seconds: float = 2.0
    token: str = field(default_factory=_new_token)
    read_only_token: str = field(default_factory=_new_token)
    more_tokens: tuple[str, ...] = ()
    folder: Path | None = None
    products: tuple[Product, ...] = field(default_factory=default_products)
    images: tuple[Image, ...] = field(default_factory=default_images)
    coupons: tuple[Coupon, ...] = field(default_factory=default_coupons)
    faults: Faults = field(default_factory=Faults)
    username: str = "Ubuntu"
    shell: str = "sh"
    password_login: bool = True
    billing_minimum_minutes: int = 0
    max_command_bytes: int = 64 * 1024
    openssh: bool = False
