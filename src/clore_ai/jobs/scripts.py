"""The scripts that run on the machine, for any POSIX shell, and how to read their answers. Pure.

A job's folder on the machine is ``~/.clore/jobs/NAME``, readable by its user only. `line` is the
command, `env` its variables (removed as soon as they are read), `out` its output (standard output
and errors in the order in which they are written), `pid` the runner, `group` its process group,
`code` the exit code, `started` marks that one start won, `stop` that the job must not run. The
runner is in tmux, or else in a session of its own: it survives the end of any connection.

`code` is written before the job starts and overwritten in place: that needs no space on a disk that
the job has filled.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STOP_GRACE_S = 10
"""How long a job may take to stop after SIGTERM before it is killed."""
STOPPED = 143
"""The exit code of a job that ended by SIGTERM, by the shells' convention."""
_MARK = "clore:"
_LAST_CODE = 255
_WORD = re.compile(
    rb"clore: (?P<what>alive|missing|ended|died|runs)(?: (?P<code>[0-9]{1,3})(?= ))?"
    rb"(?: (?P<size>[0-9]{1,18}))?"
)
_NOT_WORD = re.compile(r"[^A-Za-z0-9_.-]+")

_RUNNER = """\
trap : HUP INT QUIT TERM
cd "$(dirname "$0")" || exit
J=$PWD
printf '%-8s\\n' running > code || exit
group=$$  # as it is in tmux and with setsid
[ -r /proc/$$/stat ] && read -r _ _ _ _ group _ < /proc/$$/stat
echo "$group" > group
echo $$ > pid.part && mv pid.part pid || exit
. ./env
rm -f env
[ ! -e stop ] || { printf '%-8s\n' @stopped@ 1<> code; exit; }
shell=sh
command -v bash > /dev/null 2>&1 && shell=bash
if cd "$HOME/@work@" 2> "$J/out"; then
  # In a shell of its own: what this one says of a job that was killed is not the job's output.
  sh -c 'exec "$1" -c "$(cat "$2/line")" < /dev/null > "$2/out" 2>&1' sh "$shell" "$J"
  code=$?
else
  code=1
fi
printf '%-8s\\n' "$code" 1<> "$J/code"
"""

_START = """\
main() {
umask 077
J="$HOME/.clore/jobs/@name@"
mkdir -p "$HOME/@work@" "$J" && cd "$J" || exit 1
if mkdir started 2> /dev/null; then
  { printf %s @line@ > line && printf %s @env@ > env && printf %s @runner@ > runner && : > out; } ||
    { rmdir started; exit 1; }
  if command -v tmux > /dev/null 2>&1 &&
    tmux -L clore-@name@ -f /dev/null new-session -d -s job "exec sh '$J/runner'"
  then :
  elif command -v setsid > /dev/null 2>&1; then
    setsid sh "$J/runner" < /dev/null > /dev/null 2>&1 &
  else
    nohup sh "$J/runner" < /dev/null > /dev/null 2>&1 &
  fi
fi
n=0
until [ -s pid ] || [ -e stop ]; do
  n=$((n + 1))
  [ "$n" -le 200 ] || { echo "the job did not start" >&2; exit 1; }
  sleep 0.05 2> /dev/null || sleep 1
done
}
main
"""

# The code is read before the size: once there is a code, that size is final.
_FOLLOW = """\
main() {
cd "$HOME/.clore/jobs/@name@" 2> /dev/null || { echo "@mark@ missing" >&2; exit 0; }
o=@offset@ n=0 r=0
while :; do
  c=; [ -f code ] && read -r c < code
  s=$(($(wc -c < out)))
  if [ "$s" -gt "$o" ]; then
    tail -c +$((o + 1)) out | head -c $((s - o)) || exit 1
    o=$s n=0
    continue
  fi
  case $c in
    [0-9]*) echo "@mark@ ended $c $s" >&2; exit 0 ;;
  esac
  if ! kill -0 "$(cat pid)" 2> /dev/null; then
    r=$((r + 1))
    [ "$r" -lt 3 ] || { echo "@mark@ died $s" >&2; exit 0; }
  fi
  [ @wait@ = yes ] || { echo "@mark@ runs $s" >&2; exit 0; }
  n=$((n + 1))
  if [ "$n" -lt 20 ]; then z=0.05; else z=0.2; fi
  sleep "$z" 2> /dev/null || sleep 1
  [ $((n % 25)) != 0 ] || echo "@mark@ alive" >&2 || exit 1
done
}
main < /dev/null
"""

# A stop may overtake the start: each finds what the other has left, `stop` or `pid`.
_STOP = """\
main() {
umask 077
J="$HOME/.clore/jobs/@name@"
mkdir -p "$J" && cd "$J" || exit 0
: > stop
if mkdir started 2> /dev/null; then
  : > out
  printf '%-8s\n' @stopped@ > code
  exit 0
fi
n=0
until p=$(cat pid 2> /dev/null); do
  n=$((n + 1))
  [ "$n" -le 200 ] || exit 0
  sleep 0.05 2> /dev/null || { sleep 1; n=$((n + 19)); }
done
n=0
while kill -0 "$p" 2> /dev/null; do
  read -r c < code
  case $c in
    [0-9]*) exit 0 ;;
  esac
  if [ "$n" = 0 ]; then kill -TERM "-$(cat group)"; fi
  if [ "$n" -ge @grace@ ]; then
    kill -KILL "-$(cat group)"
    printf '%-8s\\n' 137 1<> code
    exit 0
  fi
  n=$((n + 1))
  sleep 0.1 2> /dev/null || { sleep 1; n=$((n + 9)); }
done
}
main < /dev/null
"""


@dataclass(frozen=True)
class Word:
    """A message of the follower beside the output: `what`, with a code or a size if it has one.

    `alive`; `runs SIZE`; `died SIZE` (the job's processes are gone and left no code); `missing`
    (there is no such job); `ended CODE SIZE`.
    """

    what: str
    code: int | None = None
    size: int | None = None


def work_folder(local_name: str) -> str:
    """The working folder on the machine for a local folder of this name, below the home folder."""
    return f"work/{_NOT_WORD.sub('_', local_name).strip('.') or 'folder'}"


def line_of(words: Sequence[str]) -> str:
    """The shell line for a command: one word is a line; several are quoted, as with `clore ssh`."""
    return words[0] if len(words) == 1 else shlex.join(words)


def with_setup(line: str, setup: str | None) -> str:
    """The line, with `setup` before it in the same shell; if that fails, its code is the job's."""
    if setup is None:
        return f"{line}\n"
    return f"( {setup}\n) || {{ code=$?; echo 'clore: --setup failed' >&2; exit $code; }}\n{line}\n"


def start(name: str, work: str, line: str, env: Mapping[str, str]) -> str:
    """Starts the job, once however often it is run; ends once the job runs."""
    # Show its output at once: when writing to a file, Python buffers some kilobytes.
    exports = {"PYTHONUNBUFFERED": "1", **env}
    variables = "".join(f"export {k}={shlex.quote(v)}\n" for k, v in exports.items())
    runner = _RUNNER.replace("@work@", work).replace("@stopped@", str(STOPPED))
    return _filled(
        _START,
        name=name,
        work=work,
        line=shlex.quote(line),
        env=shlex.quote(variables),
        runner=shlex.quote(runner),
    )


def follow(name: str, offset: int, *, wait: bool = True) -> str:
    """Writes the job's output from `offset` on, to its end (`wait`) or as far as it is now."""
    return _filled(_FOLLOW, name=name, offset=str(offset), wait="yes" if wait else "no")


def stop(name: str) -> str:
    """Ends the job: SIGTERM to all of its processes, SIGKILL after `STOP_GRACE_S`.

    A job that has not started never will, and counts as ended by SIGTERM.
    """
    return _filled(_STOP, name=name, grace=str(STOP_GRACE_S * 10), stopped=str(STOPPED))


def word(line: bytes) -> Word | None:
    """Parse a line of the follower's standard error; None if it is not the follower's own."""
    found = _WORD.fullmatch(line.strip())
    if found is None:
        return None
    what, code, size = found["what"].decode(), found["code"], found["size"]
    if (what == "ended") != (code is not None) or int(code or 0) > _LAST_CODE:
        return None
    return Word(what, None if code is None else int(code), None if size is None else int(size))


def remove(paths: Sequence[bytes]) -> bytes:
    """The input for `xargs -0 rm`."""
    return b"".join(b"./" + path + b"\0" for path in paths)


def _filled(script: str, **values: str) -> str:
    values["mark"] = _MARK
    return re.sub(r"@(\w+)@", lambda found: values.get(found[1], found[0]), script)


def quoted(text: str) -> str:
    """Quote `text` as one word for the shell."""
    return shlex.quote(text)
