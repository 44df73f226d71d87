"""What is made of what a machine shows (pure)."""

from __future__ import annotations

import pytest

from clore_ai.models import MarketplaceServer
from clore_ai.rental.verify import SPEED_BYTES, Promise, judge, promise

ONE = "NVIDIA GeForce RTX 3090, 24576, 550.54.15"
DD = "16777216 bytes (17 MB, 16 MiB) copied, 0.02 s, 839 MB/s"


def shown(*gpus: str, code: int = 0, cuda: str = "12.4", disk: str = DD, disk_code: int = 0) -> str:
    """The script's output."""
    mark = "clore-verify:"
    lines = [
        f"{mark}gpus", *gpus, f"{mark}gpus-code {code}", f"{mark}cuda", f"CUDA Version: {cuda}",
        f"{mark}disk", "16+0 records in", disk, f"{mark}disk-code {disk_code}",
        f"{mark}free", "overlay 100000000 40000000 60000000 40% /", f"{mark}end",
    ]  # fmt: skip
    return "Welcome to this machine\n" + "\n".join(lines) + "\n"


def seen(*args, promised: Promise | None = None, arrived: int = SPEED_BYTES, **more):
    promised = promised or Promise(1, ("RTX 3090",), 24, "12.2")
    return judge(shown(*args, **more), promised, arrived, 0.5)


def test_what_is_as_promised_is_good():
    found = seen(ONE)
    assert found.faults == ()
    assert (found.gpus, found.driver, found.cuda) == (
        ("NVIDIA GeForce RTX 3090",),
        "550.54.15",
        "12.4",
    )
    assert found.memory_gb == (24.0,)
    assert found.disk_mb_s == pytest.approx(838.9, abs=0.1)
    assert found.disk_free_gb == pytest.approx(61.44)
    assert found.mbit_s == pytest.approx(16)


@pytest.mark.parametrize(
    ("gpus", "more", "says"),
    [
        (["sh: 1: nvidia-smi: not found"], {"code": 127}, "no GPU (sh: 1: nvidia-smi: not found)"),
        (["No devices were found"], {"code": 6}, "no GPU (No devices were found)"),
        ([], {}, "no GPU (no answer)"),
        ([ONE], {"promised": Promise(2, ("RTX 3090",))}, "1 of 2 GPUs"),
        ([ONE], {"promised": Promise(1, ("RTX 3090 Ti",))}, "not RTX 3090 Ti"),
        ([ONE.replace("24576", "12288")], {}, "a GPU has 12 GB of 24 GB"),
        ([ONE], {"cuda": "11.4"}, "for CUDA 11.4, not 12.2"),
        (
            [ONE],
            {"disk": "dd: No space left on device", "disk_code": 1},
            "can't be written (dd: No",
        ),
        ([ONE], {"arrived": 512}, "broke off after 512"),
    ],
)
def test_what_is_not_is_said(gpus, more, says):
    (fault,) = seen(*gpus, **more).faults
    assert says in fault


@pytest.mark.parametrize(
    ("gpu", "gpu_array", "name"),
    [
        ("8x NVIDIA GeForce RTX 3090", [" RTX 3090"] * 8, "NVIDIA GeForce RTX 3090"),
        ("2x NVIDIA A100-SXM4-80GB", None, "NVIDIA A100-SXM4-80GB"),
        ("1x Tesla T4", [[" T4"]], "Tesla T4"),
        ("1x NVIDIA GeForce GTX 1660 SUPER", None, "NVIDIA GeForce GTX 1660 SUPER"),
        ("1x NVIDIA RTX A6000", [" RTX A6000"], "NVIDIA RTX A6000"),
    ],
)
def test_names_of_the_marketplace_and_of_nvidia_smi_are_the_same_card(gpu, gpu_array, name):
    record = {"id": 1, "specs": {"gpu": gpu}, "gpu_array": gpu_array}
    promised = promise(MarketplaceServer.model_validate(record))
    assert promised.count == int(gpu[0])
    assert seen(*[f"{name}, 999999, 550"] * promised.count, promised=promised).faults == ()


def test_mixed_gpus_are_counted_only():
    record = {"id": 1, "specs": {"gpu": "2x Mixed GPUs"}}
    promised = promise(MarketplaceServer.model_validate(record))
    assert promised == Promise(2)
    assert seen(ONE, "NVIDIA GeForce RTX 4090, 24564, 550", promised=promised).faults == ()
