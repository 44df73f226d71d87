"""Lists the files of a machine: scripts for any POSIX shell, and their answers. Pure.

Every answer begins with a mark (`_ssh.marks`). The answer is a stranger's: it only says what to
request, never where to write.
"""

from __future__ import annotations

import re
import shlex
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_ai._ssh import marks

if TYPE_CHECKING:
    from collections.abc import Sequence

WITHIN_S, SILENT_S = 600.0, 60.0
"""How long an answer may take, and how long it may be silent."""
LONGEST = 1 << 26
"""Bytes of an answer."""
_S = 1_000_000_000
_SETTLED_S = 2
_TOOLS = (b"find", b"stat", b"xargs", b"tar")
_ENTRY = re.compile(
    rb"([0-9a-f]{1,8}) (\d{1,19}) (-?\d{1,12}) "
    rb"[0-9-]{10,12} [0-9:]{8}(?:\.(\d{1,9}))? [^|\n]{1,8}\|(.+)",
    re.DOTALL,
)

# find and stat agree this far in GNU's coreutils and in busybox.
_LIST = """\
main() {
LC_ALL=C TZ=UTC; export LC_ALL TZ
printf '\\n%s\\n' @mark@
for t in find stat xargs tar; do
  command -v "$t" > /dev/null 2>&1 || echo "@mark@ lacks $t"
done
d=no
if [ -d @place@ ]; then d=yes; cd @place@ || exit; set -- @names@
else cd @parent@ || exit; set -- @name@; fi
echo "@mark@ folder $d $(date +%s)"
for f in "$@"; do
  if [ -e "$f" ] || [ -h "$f" ]; then
    # It fails if a file goes in between; beyond 125 it was killed, and lists less than there is.
    find @follow@ "$f" -exec stat @follow@ -c '@mark@ %f %s %Y %y|%n' {} + || [ $? -lt 126 ] || exit
  else
    printf '@mark@ missing %s\\n' "$f"
  fi
done
printf '%s\\n' '@mark@ end'
}
main < /dev/null
"""

_STAT = """\
LC_ALL=C TZ=UTC; export LC_ALL TZ
mkdir -p @place@ && cd @place@ || exit
printf '\\n%s\\n' @mark@
xargs -0 stat -c '@mark@ %f %s %Y %y|%n' 2> /dev/null
printf '%s\\n' '@mark@ end'
"""


@dataclass(frozen=True)
class Entry:
    """One file on the machine: its path below the listed place, and its kind."""

    path: bytes
    mode: int
    size: int
    mtime_ns: int

    @property
    def is_folder(self) -> bool:
        """Is it a folder?"""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """Is it a regular file?"""
        return stat.S_ISREG(self.mode)

    @property
    def is_link(self) -> bool:
        """Is it a symbolic link?"""
        return stat.S_ISLNK(self.mode)


@dataclass(frozen=True)
class Listing:
    """The files that a machine lists."""

    entries: tuple[Entry, ...]
    missing: tuple[bytes, ...]
    is_folder: bool
    """Is the listed place a folder?"""
    now_s: int
    """Unix seconds by the machine's clock; 0 if its files count parts of a second."""
    lacks: tuple[str, ...]
    """Required programs that the machine lacks."""

    def may_still_change(self, entry: Entry) -> bool:
        """May the file change again without a change of its size and time?

        It may on a machine that counts whole seconds, until the file's second is over.
        """
        return 0 < self.now_s < entry.mtime_ns // _S + _SETTLED_S


def script(mark: str, place: str, names: Sequence[str], *, single: str = "") -> str:
    """Lists `names` below the folder `place`, with everything in them.

    Args:
        mark: begins each line of the answer.
        place: quoted shell words for the folder; ``"$HOME/work/x"``.
        names: paths below it, or ``.``.
        single: if `place` may be a file, its name in its folder; a link is then followed.
    """
    return _filled(
        _LIST,
        mark=mark,
        place=place,
        names=" ".join(shlex.quote(_below(each)) for each in names),
        parent=f'"$(dirname -- {place})"' if single else place,
        name=shlex.quote(_below(single)) if single else "",
        follow="-L" if single else "",
    )


def stat_script(mark: str, place: str) -> str:
    """Lists the files that are named on standard input, each ended by a NUL; creates the folder."""
    return _filled(_STAT, mark=mark, place=place)


def read(mark: str, answer: bytes) -> Listing | None:
    """The listing in an answer; None if it is incomplete."""
    rest = marks.after(mark, answer)
    lines = (b"\n" + (rest or b"")).split(f"\n{mark} ".encode())[1:]
    if not lines or lines.pop().rstrip() != b"end":
        return None
    entries: dict[bytes, Entry] = {}
    missing: list[bytes] = []
    lacks: list[str] = []
    is_folder, now_s = False, 0
    for line in lines:
        word, _, tail = line.partition(b" ")
        if word == b"folder":
            yes, _, clock = tail.partition(b" ")
            is_folder, now_s = yes == b"yes", int(clock[:12]) if clock[:12].isdigit() else 0
        elif word == b"missing":
            missing.append(bare(tail))
        elif word == b"lacks" and tail in _TOOLS:
            lacks.append(tail.decode())
        elif (entry := _entry(line)) is not None:
            entries[entry.path] = entry
    if any(each.mtime_ns % _S for each in entries.values()):
        now_s = 0
    return Listing(tuple(entries.values()), tuple(missing), is_folder, now_s, tuple(lacks))


def _entry(line: bytes) -> Entry | None:
    found = _ENTRY.fullmatch(line)
    if found is None:
        return None
    mode, size, seconds, fraction, name = found.groups()
    part = int((fraction or b"").ljust(9, b"0"))
    return Entry(bare(name), int(mode, 16), int(size), int(seconds) * _S + part)


def bare(name: bytes) -> bytes:
    """`name` without the leading ``./`` of each requested name."""
    return name[2:] if name.startswith(b"./") else name


def _below(name: str) -> str:
    return name if name == "." else f"./{name}"


def _filled(text: str, **values: str) -> str:
    return re.sub(r"@(\w+)@", lambda found: values.get(found[1], found[0]), text)
