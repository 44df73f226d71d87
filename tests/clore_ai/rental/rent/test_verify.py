"""The check compares what a machine shows with its offer (pure)."""

from __future__ import annotations

import time

import pytest

from clore_ai.models import MarketplaceServer
from clore_ai.rental.rent.verify import SPEED_BYTES, Promise, judge, last_line, promise

ONE = "NVIDIA GeForce RTX 3090, 24576, 550.54.15"
DD = "16777216 bytes (17 MB, 16 MiB) copied, 0.02 s, 839 MB/s"


def shown(*gpus: str, code: int = 0, cuda: str = "12.4", disk: str = DD, disk_code: int = 0) -> str:
    """The output of the script."""
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


def test_a_machine_as_promised_is_good():
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
def test_each_difference_is_named(gpus, more, says):
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
def test_names_of_the_marketplace_match_those_of_nvidia_smi(gpu, gpu_array, name):
    record = {"id": 1, "specs": {"gpu": gpu}, "gpu_array": gpu_array}
    promised = promise(MarketplaceServer.model_validate(record))
    assert promised.count == int(gpu[0])
    assert seen(*[f"{name}, 999999, 550"] * promised.count, promised=promised).faults == ()


def test_mixed_gpus_are_only_counted():
    record = {"id": 1, "specs": {"gpu": "2x Mixed GPUs"}}
    promised = promise(MarketplaceServer.model_validate(record))
    assert promised == Promise(2)
    assert seen(ONE, "NVIDIA GeForce RTX 4090, 24564, 550", promised=promised).faults == ()


MIXED = [" RTX 4090", " RTX 3090", " RTX 3090 Ti", " RTX 3090"]


@pytest.mark.parametrize(
    ("gpu", "gpu_array", "there", "says"),
    [
        ("4x Mixed GPUs", MIXED, ["3090 Ti", "3090", "4090", "3090"], None),
        ("4x Mixed GPUs", MIXED, ["3090", "3090 Ti", "3090", "4090", "1060"], None),
        ("4x Mixed GPUs", [MIXED[:2], MIXED[2:]], ["3090", "3090", "3090 Ti", "4090"], None),
        ("4x Mixed GPUs", MIXED, ["4090", "3090", "3090", "3090"], "not RTX 3090 Ti"),
        ("4x Mixed GPUs", MIXED, ["4090", "3090", "3090 Ti", "1060"], "1 of 2 RTX 3090"),
        ("4x Mixed GPUs", MIXED, ["4090", "3090", "3090 Ti"], "shows 3 of 4 GPUs"),
        ("3x NVIDIA GeForce RTX 3090", None, ["3090", "3090", "1060"], "2 of 3"),
        ("3x NVIDIA GeForce RTX 3090", [" RTX 3090"] * 3, ["3090", "1060", "1060"], "1 of 3"),
        ("2x NVIDIA GeForce RTX 3090", None, ["1060", "1060"], "not NVIDIA GeForce RTX 3090"),
    ],
)
def test_each_gpu_is_compared(gpu, gpu_array, there, says):
    """Each promised GPU must be there, and one GPU fulfils one promise only.

    A record of several kinds, a 4090 and a 1060, names a memory that not every card has.
    """
    record = {"id": 1, "specs": {"gpu": gpu, "gpuram": 24}, "gpu_array": gpu_array}
    promised = promise(MarketplaceServer.model_validate(record))
    rows = [f"NVIDIA GeForce RTX {name}, {24576 if says else 12288}, 550" for name in there]
    if gpu_array is None or "Mixed" not in gpu:
        rows = [row.replace("12288", "24576") for row in rows]
    faults = seen(*rows, promised=promised).faults
    assert [says in fault for fault in faults] == ([True] if says else [])


ODD = "\x1b]52;c;eA==\x07\x9b31m\u202e\u2028\x00"


def test_output_of_a_machine_is_filtered():
    """Names, numbers and errors are safe to print and bounded, however much the machine sends."""
    many = [f"RTX{ODD}{number}, 24576{ODD}, {ODD}550" for number in range(5_000)]
    found = seen(*many, f"{ODD}, nan, inf", cuda="9." * 50_000)
    said = "; ".join(found.faults)
    assert "nvidia-smi shows" in said
    for text in (said, *found.gpus, found.driver, found.cuda):
        assert text.isprintable()
    assert len(said) < 1_000
    assert len(found.gpus) <= 64
    assert all(0 <= gb < float("inf") for gb in found.memory_gb)


@pytest.mark.parametrize(
    "disk",
    [
        f"{'9' * 5_000} bytes x, 1 s",
        "1 bytes " * 50_000,
        "1 bytes, 1e999 s",
        f"1 bytes {'1' * 90_000}",
    ],
)
def test_endless_output_of_dd_is_parsed_at_once(disk):
    """Neither a number of thousands of digits nor an endless line delays the renter."""
    begun = time.monotonic()
    found = seen(ONE, disk=disk)
    assert found.disk_mb_s is None or found.disk_mb_s < float("inf")
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("lines", [1, 10_000])
def test_the_last_line_is_one_line(lines):
    """The error holds one line of the output of the machine's ssh or shell."""
    said = last_line((f"noise{ODD}\n" * lines + f"why{ODD}\tnot\n \n").encode() + b"\xff\n")
    assert said == "\ufffd"
    assert last_line(f"a\nwhy{ODD}\tnot\n \n".encode()).isprintable()
    assert last_line(b"x" * 1_000_000).startswith("xxx")
    assert len(last_line(b"x" * 1_000_000)) <= 200
    assert last_line(b"") == ""
