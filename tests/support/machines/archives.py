"""Members of tar archives that no archiver writes."""

from __future__ import annotations

import tarfile


def member(
    name: str, data: bytes = b"owned\n", *, kind: bytes = tarfile.REGTYPE, link: str = "",
    mode: int = 0o644, size: int | None = None, **more: object,
) -> bytes:  # fmt: skip
    """One member. `size` is the size in its header, if that is wrong.

    Args:
        name: the name in the header; a long one gets GNU's extra member.
        data: the content.
        kind: the header's type.
        link: the target of a link.
        mode: its permissions.
        size: see above.
        more: other fields of `tarfile.TarInfo`.
    """
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.mtime = kind, link, mode, 1_700_000_000
    held = data if kind in (tarfile.REGTYPE, tarfile.AREGTYPE) else b""
    info.size = len(held) if size is None else size
    for field, value in more.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + _padded(held)


def folder(name: str, mode: int = 0o755) -> bytes:
    return member(name, kind=tarfile.DIRTYPE, mode=mode)


def symlink(name: str, link: str) -> bytes:
    return member(name, kind=tarfile.SYMTYPE, link=link)


def hard_link(name: str, link: str) -> bytes:
    return member(name, kind=tarfile.LNKTYPE, link=link)


def pax(said: bytes, *, everywhere: bool = False, **fields: str) -> bytes:
    """A PAX header for the next member or for all, with these fields and then `said` unchanged."""
    text = b"".join(_record(k.replace("__", "."), v) for k, v in fields.items()) + said
    return _extra(b"g" if everywhere else b"x", text)


def gnu_name(name: str, *, link: bool = False) -> bytes:
    """GNU's extra member: the next member's name or target."""
    return _extra(b"K" if link else b"L", name.encode() + b"\0")


def raw_header(name: str, kind: bytes, size: int) -> bytes:
    """A header alone; the announced content does not follow."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def _extra(kind: bytes, text: bytes) -> bytes:
    return raw_header("././@x", kind, len(text)) + _padded(text)


def _record(name: str, value: str) -> bytes:
    rest = f" {name}={value}\n".encode()
    size = len(rest) + 1
    while len(str(size)) + len(rest) != size:
        size = len(str(size)) + len(rest)
    return str(size).encode() + rest


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)
