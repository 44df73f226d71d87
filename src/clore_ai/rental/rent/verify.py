"""Does a rented machine work, and is it what was promised? One SSH login answers that.

`inspect` runs the script on the machine, and `judge` evaluates the answer. Pure, but for `inspect`,
`own_check` and `why`, which are flows. A machine may differ from the promise in form: nvidia-smi's
names have more words than the marketplace's (``NVIDIA GeForce RTX 4090`` for `` RTX 4090``), and a
card reports slightly less memory than its nominal size.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING

from clore_ai._api.steps import Done, Exec, Flow, NoWayOutError, clock, probe
from clore_ai._ssh.target import ALONE
from clore_ai._values.text import plain
from clore_ai.models._base import count_gpus, flat_gpus
from clore_ai.models.records import Inspection
from clore_ai.rental.market.listing import version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clore_ai._ssh.target import Target
    from clore_ai.models import MarketplaceServer, Order
    from clore_ai.rental.rent.wish import Verify
    from clore_ai.rental.session import Session

SSH_FAILED = 255
"""ssh's own exit code; any other is the remote command's."""
NOT_HERE = 127
LOGIN_S = 20.0
"""How long one login may take, including the script."""
SPEED_BYTES = 1_000_000
_NEARLY = 0.9
_MAKERS = {"nvidia", "geforce", "amd", "tesla", "quadro", "gpu", "graphics"}
_COLUMNS, _DF_FREE = 3, 3
_LONGEST_PART, _LONGEST_NAME, _MOST_GPUS = 10_000, 80, 64
"""The most that is read of an answer, however long it is."""
_MARK = "clore-verify:"
_WRITTEN = re.compile(r"\b([0-9]{1,15}) bytes.*?([0-9.]{1,20}(?:e-?[0-9]{1,3})?) s")
_LONGEST_DD = 500
"""Such a search takes quadratic time, and the text is the machine's."""
_SCRIPT = f"""
LC_ALL=C; export LC_ALL
echo {_MARK}gpus
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader,nounits 2>&1
echo {_MARK}gpus-code $?
echo {_MARK}cuda
nvidia-smi 2>&1 | grep -o 'CUDA Version: *[0-9.]*'
echo {_MARK}disk
file=$(mktemp) && dd if=/dev/zero of="$file" bs=1048576 count=16 conv=fsync 2>&1
echo {_MARK}disk-code $?
rm -f "$file"
echo {_MARK}free
df -Pk "${{TMPDIR:-/tmp}}" 2>/dev/null | tail -n 1
echo {_MARK}end
"""
_HELLO = f"echo {_MARK}end\n"
_SPEED = f"head -c {SPEED_BYTES} /dev/zero"


@dataclass(frozen=True)
class Promise:
    """What the marketplace says of a server's GPUs."""

    count: int = 0
    """0 if it does not say: then any GPU is accepted."""
    names: tuple[str, ...] = ()
    """One name per GPU, so a name may repeat; empty if it does not say."""
    memory_gb: float | None = None
    """Of one GPU; None for mixed GPUs: the record does not say which one it means."""
    cuda: str | None = None


def promise(of: MarketplaceServer | Order) -> Promise:
    """What the record of a server, or of an order, promises."""
    specs = of.specs
    gpu = specs.gpu if specs else None
    count = count_gpus(of.gpu_array, gpu)
    one = [re.sub(r"^\s*\d+x\s*", "", gpu)] if gpu else []
    names = flat_gpus(of.gpu_array) or one * min(max(count, 1), _MOST_GPUS)
    mixed = len(set(names)) > 1 or (gpu is not None and "mixed" in gpu.lower())
    return Promise(
        count,
        tuple(n for n in names if "mixed" not in n.lower())[:_MOST_GPUS],
        specs.gpuram if specs and not mixed else None,
        of.cuda_version,
    )


def inspect(
    target: Target, how: Verify, promised: Promise, within_s: float
) -> Flow[Inspection | Done]:
    """The findings at `target`; or how ssh ended if it does not log in (yet), see `why`."""
    script = _SCRIPT if how == "gpu" else _HELLO
    words = target.ssh("sh -s", *ALONE)
    done: Done = yield Exec(words, script.encode(), min(LOGIN_S, within_s))
    text = done.out.decode("utf-8", "replace")
    if done.code != 0 or f"{_MARK}end" not in text:
        return done
    if how != "gpu":
        return Inspection()
    begun = (yield from clock()).mono
    bulk: Done = yield Exec(target.ssh(_SPEED, *ALONE), b"", min(LOGIN_S, within_s))
    took = (yield from clock()).mono - begun
    return judge(text, promised, len(bulk.out), took)


def own_check(target: Target, command: str, within_s: float) -> Flow[str | None]:
    """Run the user's own check; None if it succeeds, else a clause that says why not."""
    done: Done = yield Exec(target.ssh(command, *ALONE), b"", within_s)
    if done.code == 0:
        return None
    said = last_line(done.err) or last_line(done.out)
    how = "did not end in time" if done.code is None else f"ended with {done.code}"
    return f"your own check {how}" + (f" ({said})" if said else "")


def judge(text: str, promised: Promise, arrived: int, took_s: float) -> Inspection:
    """Evaluate the script's output, and the bytes that were transferred."""
    parts = _parts(text)
    lines = parts["gpus"].split("\n")[:_MOST_GPUS]
    rows = [[plain(cell, _LONGEST_NAME) for cell in line.split(",")] for line in lines]
    ran = parts["gpus-code"].split()[:1] == ["0"]
    gpus = [row for row in rows if len(row) == _COLUMNS] if ran else []
    shown = Inspection(
        tuple(row[0] for row in gpus),
        tuple(_number(row[1]) / 1024 for row in gpus),
        gpus[0][2] if gpus else None,
        next(iter(re.findall(r"[0-9.]{1,20}", parts["cuda"])), None),
        _free_gb(parts["free"]),
        _written_mb_s(parts["disk"]),
        arrived * 8 / 1e6 / took_s if took_s > 0 and arrived >= SPEED_BYTES else None,
    )
    faults = list(_gpu_faults(shown, promised, parts["gpus"] if not gpus else ""))
    if parts["disk-code"].split()[:1] != ["0"]:
        faults.append(f"its disk can't be written ({last_line(parts['disk'].encode())})")
    if shown.mbit_s is None:
        faults.append(f"its network broke off after {arrived} of {SPEED_BYTES} bytes")
    return replace(shown, faults=tuple(faults))


def _gpu_faults(shown: Inspection, promised: Promise, said: str) -> Iterator[str]:
    if not shown.gpus:
        why = last_line(said.encode()) or "no answer"
        yield f"nvidia-smi shows no GPU ({why})"
        return
    too_few = len(shown.gpus) < promised.count
    if too_few:
        yield f"nvidia-smi shows {len(shown.gpus)} of {promised.count} GPUs"
    wanted, found = Counter(promised.names), _found(promised.names, shown.gpus)
    for name, count in wanted.items():
        if not found[name]:
            yield f"nvidia-smi shows {plain(', '.join(dict.fromkeys(shown.gpus)))}, not {name}"
        elif found[name] < count and not too_few:
            yield f"nvidia-smi shows {found[name]} of {count} {name}"
    least = min(shown.memory_gb)
    if promised.memory_gb and 0 < least < promised.memory_gb * _NEARLY:
        yield f"a GPU has {least:.0f} GB of {promised.memory_gb:.0f} GB"
    if shown.cuda and promised.cuda and version(shown.cuda) < version(promised.cuda):
        yield f"its driver is for CUDA {shown.cuda}, not {promised.cuda}"


def _found(names: tuple[str, ...], gpus: tuple[str, ...]) -> Counter[str]:
    """How many GPUs match each name; each GPU counts once.

    A name with fewer words matches more GPUs (an RTX 3090 Ti also matches RTX 3090), so it takes
    what the longer names leave, and of that the most similar.
    """
    left = [_words(gpu) for gpu in gpus]
    found: Counter[str] = Counter()
    for name in sorted(names, key=lambda name: -len(_words(name))):
        fitting = [words for words in left if _words(name) <= words]
        if fitting:
            left.remove(min(fitting, key=len))
            found[name] += 1
    return found


def _parts(text: str) -> dict[str, str]:
    """The output by its marks; a mark's own line holds the exit code."""
    found: dict[str, str] = defaultdict(str)
    for part in text.split(_MARK)[1:]:
        name, _, rest = part.partition("\n")
        word, _, code = name.partition(" ")
        found[word] = (code or rest)[:_LONGEST_PART]
    return found


def _words(name: str) -> set[str]:
    words = re.split(r"[\s_/()-]+", name.lower())
    return {word for word in words if word} - _MAKERS


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:  # "[N/A]"
        return 0.0
    return number if isfinite(number) else 0.0


def _free_gb(line: str) -> float | None:
    cells = line.split()
    return _number(cells[3]) * 1024 / 1e9 if len(cells) > _DF_FREE else None


def _written_mb_s(text: str) -> float | None:
    """From dd's ``16777216 bytes (17 MB, 16 MiB) copied, 0.0102 s, 1.6 GB/s``."""
    found = _WRITTEN.search(text[-_LONGEST_DD:])
    seconds = _number(found[2]) if found else 0.0
    return int(found[1]) / 1e6 / seconds if found and seconds > 0 else None


def why(session: Session, order: Order, done: Done) -> Flow[str]:
    """Why SSH did not log in, or why its command failed.

    ssh's wording depends on its version, so whether the machine greets is checked separately.
    """
    said = last_line(done.err)
    if done.code is None:
        return "SSH logs in, but does not answer"
    if done.code == SSH_FAILED and order.ssh_port is not None and not session.access.jumps:
        with suppress(NoWayOutError):
            if (yield from probe(order.ssh_hosts[-1:], order.ssh_port)) is not None:
                return "SSH refuses the key"
    return said or f"SSH ended with {done.code}"


def last_line(raw: bytes) -> str:
    """The last line with text, cut to the length of a sentence."""
    lines = raw[-_LONGEST_PART:].splitlines()
    return next((line for each in reversed(lines) if (line := plain(each))), "")
