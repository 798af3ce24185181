"""How much memory each GPU of a product has: the API does not say it in a field of its own.

The known models are in one table, per GPU, after NVIDIA's data sheets (nvidia.com, "Data Center GPUs" and
"NVIDIA RTX PRO", as of 2026). What the service writes into a name or a description, such as ``80gb`` or
``(640GB)``, decides between the sizes of a model, and speaks for itself where the model is not known. For
several GPUs it may be the size of one or of all of them: where both make sense, the size is not known.
"""

from __future__ import annotations

import re

MODELS: dict[str, tuple[int, ...]] = {
    "b200": (180,),
    "gh200": (96, 144),
    "h200": (141,),
    "h100 nvl": (94,),
    "h100": (80,),
    "a100": (40, 80),
    "v100": (16, 32),
    "t4": (16,),
    "l40s": (48,),
    "l40": (48,),
    "l4": (24,),
    "a40": (48,),
    "a30": (24,),
    "a10": (24,),
    "pro 6000": (96,),
    "6000 ada": (48,),
    "a6000": (48,),
    "a5000": (24,),
    "a4500": (20,),
    "a4000": (16,),
}
"""Gigabytes; several where a model is sold in several sizes. A longer name stands before a shorter one."""

_PATTERNS = {
    model: re.compile(rf"(?<![a-z0-9])(?:rtx[ _-]?)?{model.replace(' ', '[ _-]?')}(?![a-z0-9])", re.I)
    for model in MODELS
}
_SIZE = re.compile(
    r"(?<![0-9.])([1-9][0-9]{0,4}) ?Gi?B\b"
    r"(?! *(?:of +)?(?:system +|host +)?(?:RAM|memory|SSD|NVMe|disk|storage)\b)",
    re.I,
)


def vram_gb(name: str, description: str, gpus: int | None) -> int | None:
    """Gigabytes of each of the *gpus* of a product; None where they are not known, or it has none."""
    if gpus == 0:
        return None
    texts = (name.replace("_", " "), description)
    sizes = _of_model(texts)
    said = {int(size) for text in texts for size in _SIZE.findall(text)}
    if not sizes:
        return said.pop() if len(said) == 1 and gpus == 1 else None
    # The size of one GPU, or of all of them.
    fitting = {size for size in sizes for one in said if one == size or one == size * (gpus or 1)}
    if len(fitting) == 1:
        return fitting.pop()
    return sizes[0] if len(sizes) == 1 else None


def _of_model(texts: tuple[str, ...]) -> tuple[int, ...]:
    for text in texts:
        for model, pattern in _PATTERNS.items():
            if pattern.search(text):
                return MODELS[model]
    return ()
