"""Private names: files that are never uploaded, and files that look like secrets. Pure.

The machine's owner can read all that is uploaded. Files in which programs keep their keys, tokens
and passwords have known names, and are never uploaded. Other files are judged by their name: those
are shown, and are uploaded if the user allows it.
"""

from __future__ import annotations

import re

LEFT_OUT = (
    ".venv", "venv", "node_modules", "__pycache__", ".ipynb_checkpoints", "*.pyc", "*.pyo",
    ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox", ".DS_Store",
)  # fmt: skip
"""As in a ``.gitignore``: files that are rebuilt on the machine, or were built for this one."""

_NEVER = frozenset(
    b".git .ssh .aws .azure .gnupg .kube .oci .clore .netrc _netrc .pypirc .pgpass .my.cnf"
    b" .git-credentials .vault-token .dockercfg .s3cfg .boto .kaggle .password-store .mozilla"
    b" .thunderbird .electrum .bitcoin".split()
)
_NEVER_IN = frozenset(
    tuple(pair.split(b"/"))
    for pair in (
        b".config/sops .config/solana"
        b" .config/gh .config/glab-cli .config/hub .config/gcloud .config/rclone .config/op"
        b" .config/google-chrome .config/chromium .docker/config.json .cargo/credentials"
        b" .cargo/credentials.toml .gem/credentials .terraform.d/credentials.tfrc.json"
        b" .huggingface/token huggingface/token huggingface/stored_tokens share/keyrings"
    ).split()
)

_KEY_FILE = re.compile(
    r"\.(pem|key|p12|pfx|p8|jks|keystore|kdbx|ppk|keytab|ovpn|tfstate|tfvars|env)(\.(bak|backup|old|orig))?$"
    r"|^[.#]{0,2}\.env"  # also .envrc, .env.local, editors' .#.env and ..env.swp
    r"|^dotenv$|^env\.(prod|dev|local|stag|secret)"
    r"|(^|[-_.])(rsa|dsa|ecdsa|ed25519)$"
    r"|^priv(ate)?[-_]?key|^(private|secret|sec)\.(asc|gpg)$|^secring|^rootkey"
    r"|^\.?(authinfo|flaskenv|dockerconfigjson|databrickscfg|fetchmailrc|curlrc|wgetrc|msmtprc"
    r"|vault_pass|netrc|pgpass)(\.|$)"
    r"|^\.?(rclone|modal|ngrok|pip|my|wg[0-9]+)\.(conf|toml|ya?ml|ini|cnf)$"
    r"|^kube[-_.]?config|^\.claude\.json$"
    r"|seed[-_ ]?phrase|recovery[-_ ]?(codes?|key)"
    r"|^wallet\.json$|^cookies?\.(txt|json|sqlite)$|^logins\.json$|^key[34]\.db$|^login data$"
    r"|^id_(rsa|dsa|ecdsa|ed25519)"
    r"|^id_[^.]+$"
    r"|^\.(npmrc|[a-z]+_history)$"
    r"|^(kaggle|auth)\.json$"
    r"|^(wallet\.dat|rclone\.conf|kubeconfig)$"
)
_WORD = re.compile(
    r"token(?!i[sz])"  # not a tokenizer
    r"|secret(?!ar)"  # not a secretary
    r"|credential|passwo?rd|passwd|passphrase|mnemonic"
    r"|(api|access|private|secret|signing|encryption|deploy|ssh|master)[-_. ]?keys?(?![a-z])"
    r"|service[-_]?account|firebase-adminsdk|(^|[-_.])creds?([-_.]|$)"
    r"|(^|[-_.])(openai|anthropic|hf|wandb|gcp|aws|azure|google|github|runpod|clore)"
    r"[-_. ]?keys?(?![a-z])"
)
_NO_SECRET = re.compile(
    r"(special|added|extra)_tokens"  # a tokenizer's
    r"|^((bpe|word|max|min|num|sub|char|phone)_)?tokens\.[a-z]+$|^token_(list|counts?|ids?|map)\b"
    r"|^(ca|cacert|ca-bundle|public[-_]?key)[-_.0-9]*pem$|^(example|sample|template)\.env$"
    r"|\.(example|sample|template|tmpl|dist|pub|crt|cer)$"
)
_CODE_OR_DATA = re.compile(
    r"\.(py|pyi|pyx|ipynb|js|mjs|cjs|ts|tsx|jsx|vue|go|rs|c|h|cc|cpp|cxx|hpp|cu|cuh|java|kt|scala"
    r"|rb|php|lua|r|jl|swift|cs|proto|md|rst|html?|css|scss|svg|png|jpe?g|gif|webp|mp[34]|wav|flac"
    r"|np[yz]|pt|pth|bin|safetensors|onnx|gguf|h5|hdf5|parquet|arrow|feather|tfrecord|so)$"
)
_SECRETS_FOLDER = re.compile(
    r"(^|/)(\.?(secrets?|credentials|private_keys)"
    r"|\.(envs|anthropic|runpod|ethereum|gsutil|fly|modal|dbt|gemini)|\.?docker(?=/config\.json))/",
    re.IGNORECASE,
)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def never(above: bytes, name: bytes) -> bool:
    """Is this never uploaded, in a folder named `above`? Case is ignored."""
    name = name.lower()
    return name in _NEVER or (above.lower(), name) in _NEVER_IN


def secret(path: str) -> bool:
    """Does a file look like a secret, by its own name or by that of a folder above it?"""
    name = _HUMP.sub("_", path.rpartition("/")[2]).lower()
    if _NO_SECRET.search(name):
        return False
    if _KEY_FILE.search(name):
        return True
    guessed = _WORD.search(name) or _SECRETS_FOLDER.search(path)
    return bool(guessed) and not _CODE_OR_DATA.search(name)
