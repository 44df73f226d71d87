#!/bin/sh
# need.sh COMMAND:PACKAGE … makes sure that each command is there, installing Debian's package
# where it can (as root, or with sudo that asks no password), and says what to type where it cannot.
set -eu
# Debian keeps the programs of PostgreSQL's server out of the path.
PATH="$PATH:/usr/sbin:/sbin:$(echo /usr/lib/postgresql/*/bin | tr ' ' ':')"
missing=
for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null 2>&1 && continue
    case " $missing " in *" ${pair#*:} "*) ;; *) missing="$missing ${pair#*:}" ;; esac
done
[ -n "$missing" ] || exit 0
if command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then as_root=; elif sudo -n true 2>/dev/null; then as_root=sudo; else as_root=no; fi
    if [ "$as_root" != no ]; then
        echo "Installing$missing…" >&2
        export DEBIAN_FRONTEND=noninteractive
        $as_root apt-get -qq update >/dev/null
        # shellcheck disable=SC2086 # words on purpose
        $as_root apt-get -qq install -y --no-install-recommends $missing >/dev/null
        exit 0
    fi
fi
echo "Missing:$missing. Install it first, for example: sudo apt-get install$missing" >&2
exit 1
