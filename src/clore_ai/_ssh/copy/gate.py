"""Decides by name and kind what may be fetched from a stranger's machine. Pure."""

from __future__ import annotations

import posixpath
import unicodedata
from typing import TYPE_CHECKING

from clore_ai._ssh.copy.tree import is_part

if TYPE_CHECKING:
    from clore_ai._ssh.copy.listing import Entry

LONGEST_NAME, LONGEST_PATH, DEEPEST = 255, 4096, 100

STARTS_SOMETHING = frozenset({
    # Version control: its configuration names programs that run at the next command. A folder with
    # a HEAD may be a repository by itself. Ignore files decide what is uploaded next time.
    "head", ".gitignore", ".cloreignore",
    ".git", ".hg", ".svn", ".bzr", ".jj", "_darcs", ".gitmodules", ".gitattributes",
    ".gitconfig", ".githooks", ".husky", "lefthook.yml", ".pre-commit-config.yaml",
    # Shells, and files that they load when they start or enter a folder.
    ".envrc", ".env", ".autoenv", ".autoenv.zsh", ".mise.toml", "mise.toml", ".mise", ".direnv",
    ".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".bash_aliases", ".profile",
    ".zshrc", ".zshenv", ".zprofile", ".zlogin", ".zlogout", ".kshrc", ".cshrc", ".tcshrc",
    ".login", ".inputrc", ".xinitrc", ".xprofile", ".xsession", ".pam_environment", ".tmux.conf",
    ".screenrc", ".oh-my-zsh", ".forward", ".procmailrc", ".mailcap", ".rhosts", ".shosts",
    # Editors, debuggers, notebooks and agents that obey the folder in which they are opened.
    ".vscode", ".idea", ".devcontainer", ".devcontainer.json", ".fleet", ".zed", ".vs", ".vim",
    ".exrc", ".vimrc", ".nvimrc", ".nvim.lua", ".lvimrc", ".local.vimrc", ".dir-locals.el",
    ".emacs", ".emacs.d", ".gdbinit", ".lldbinit", ".pdbrc", ".ipython", ".jupyter",
    ".claude", ".cursor", ".cursorrules", ".mcp.json", ".windsurf", "claude.md", "agents.md",
    # Credentials, and the settings of programs that use them.
    ".ssh", "authorized_keys", ".netrc", ".aws", ".gnupg", ".npmrc", ".yarnrc", ".yarnrc.yml",
    ".pypirc", ".condarc", ".docker", ".kube", ".wgetrc", ".curlrc", ".clore", "clore.toml",
    ".config", ".local", ".cargo", ".pyenv", ".nvm", ".rbenv",
    # Python runs or reads these when it starts.
    "sitecustomize.py", "usercustomize.py", "pyvenv.cfg",
    # Desktops.
    "desktop.ini", "autorun.inf", ".directory",
})  # fmt: skip
"""Names, in lower case, that local programs run or obey because they exist."""
_ENDINGS = (".desktop", ".code-workspace", ".lnk", ".url")
_IGNORED_BY_FILE_SYSTEMS = " ."
"""Windows and other systems drop these from the end of a name."""


def is_below(goal: bytes, top: bytes) -> bool:
    """Is `goal` this output, or inside it?"""
    return top in (b".", goal) or goal.startswith(top + b"/")


def refusal(entry: Entry, goal: bytes, top: bytes) -> str | None:
    """Why an entry is refused; None if it may be fetched.

    Args:
        entry: what the machine lists.
        goal: the local path that it would get.
        top: its output. The user named that one, so its own name is not checked.
    """
    if not (entry.is_file or entry.is_folder or entry.is_link):
        return "not a file, folder or link"
    if len(goal) > LONGEST_PATH or goal.count(b"/") > DEEPEST:
        return "the path is too long"
    if goal == top:
        return None
    names = goal[0 if top == b"." else len(top) + 1 :].split(b"/")
    return next((why for name in names if (why := _no_name(name)) is not None), None)


def _no_name(name: bytes) -> str | None:
    if name in (b"", b".", b".."):
        return "the path leads out of the folder"
    if len(name) > LONGEST_NAME or b"\0" in name:
        return "the name is not valid"
    if is_part(name) or starts_something(name):
        return "programs here act on files of that name"
    return None


def starts_something(name: bytes) -> bool:
    """Do local programs run or obey a file or folder of this name because it exists?"""
    text = unicodedata.normalize("NFKC", name.decode("utf-8", "replace")).casefold()
    # HFS+ skips invisible characters; NTFS has git~1 for .git, and streams after a colon.
    text = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Mn"))
    text = text.partition(":")[0].rstrip(_IGNORED_BY_FILE_SYSTEMS)
    return text in STARTS_SOMETHING or text.startswith("git~") or text.endswith(_ENDINGS)


def stays_inside(path: bytes, goal: bytes, top: bytes) -> bool:
    """Does a symbolic link at `path` always lead to something at or below `top`?

    Only its first components may be ``..``: after a name, which may be a link itself, ``..`` is not
    the folder that it seems to be.
    """
    names = goal.split(b"/")
    ups = 0
    while ups < len(names) and names[ups] == b"..":
        ups += 1
    below = [name for name in names[ups:] if name not in (b"", b".")]
    if not goal or goal.startswith(b"/") or b"\0" in goal or b".." in below:
        return False
    if len(goal) > LONGEST_PATH or any(starts_something(name) for name in below):
        return False
    depth = 0 if top == b"." else len(posixpath.normpath(top).split(b"/"))
    if posixpath.normpath(path) == posixpath.normpath(top):
        return False  # the output itself is a link: its goal was not requested
    here = len(path.split(b"/")) - 1
    return here - ups >= depth
