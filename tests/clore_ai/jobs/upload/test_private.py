"""Which names look like secrets, and which do not."""

from __future__ import annotations

import pytest

from clore_ai.jobs.upload.private import never, secret

SECRETS = [
    ".env", ".env.local", ".ENV.production", ".envrc", "prod.env", "a/b/.env-staging", "server.pem",
    "tls/server.key", "a.p12", "a.pfx", "AuthKey_X.p8", "release.jks", "release.keystore",
    "vault.kdbx", "putty.ppk", "krb5.keytab", "vpn.ovpn", "terraform.tfstate", "prod.tfvars",
    "server.key.bak", "id_rsa", "id_ed25519", "id_work", "ID_RSA", "id_rsa.bak", "token",
    "hf_token", ".token", "token.json", "token.pickle", "accessToken.txt", "github-token.txt",
    "apitoken", "access_tokens.txt", "bot_token.yaml", "credentials", "credentials.json",
    "gcp-credentials.json", ".credentials", "aws_credentials.csv", "client_secret_12.json",
    "secrets.toml", ".secret", "secrets.yaml", "db_password.txt", ".htpasswd", "passwd",
    "api_key.txt", "apikey", "api-keys.json", "accessKeys.csv", "private_key", "secret_key.json",
    "service-account.json", "serviceAccount.json", "x-firebase-adminsdk-1.json", "kaggle.json",
    "auth.json", ".npmrc", ".bash_history", "wallet.dat", "kubeconfig", "secrets/db.txt",
    "config/.secrets/redis", "credentials/me.json", "mnemonic.txt",
    "netrc", ".authinfo", ".authinfo.gpg", ".flaskenv", ".dockerconfigjson", ".databrickscfg",
    ".curlrc", ".claude.json", "docker/config.json", "kubeconfig.yaml", "kube.config",
    ".rclone.conf", ".modal.toml", "ngrok.yml", "pip.conf", "my.cnf", "pgpass.conf", "creds.json",
    "cred.json", "oauth_creds.json", ".vault_pass", "vault_pass.txt", "openai_key.txt",
    "gcp-key.json", "my_id_rsa", "deploy_rsa", "privkey.txt", "private.asc", "secring.gpg",
    "wg0.conf", "rootkey.csv", ".ethereum/keystore/a", "seed-phrase.txt", "recovery-codes.txt",
    "wallet.json", "cookies.txt", "Login Data", "logins.json", "key4.db", "env.production",
    ".envs/prod", "dotenv", "#.env#", ".#.env", "..env.swp", ".runpod/config.toml",
]  # fmt: skip

HARMLESS = [
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json",
    "added_tokens.json", "tokenize.py", "tokens.py", "token_embedding.npy", "tokenization.txt",
    "detokenizer.cfg", "pretokenized.jsonl", "id_map.csv", "id_list.txt", "ids", "id.txt",
    "valid_id_map.json", "width.json", ".env.example", ".env.sample", "env.py", "environment.yml",
    "envs/a.py", ".environment.md/x", "id_rsa.pub", "server.crt", "deploy_key.pub", "secretary.csv",
    "test_secrets.py", "src/secrets/__init__.py", "keys.py", "keyboard.json", "monkey.txt",
    "key_map.json", "credentials.py", "password_reset.html", "train.py", "data/images/1.png",
    "README.md", "requirements.txt", "model.safetensors", ".gitignore",
    "tokens.txt", "tokens.json", "tokens.csv", "bpe_tokens.txt", "token_list.pkl",
    "token_counts.json", "max_tokens.yaml", "word_tokens.tsv", "certifi/cacert.pem", "certs/ca.pem",
    "public_key.pem", "example.env", "sample.env", "env.yml", "incredible.txt",
    "docker/compose.yml",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRETS)
def test_names_that_look_like_a_secret(name: str) -> None:
    """They are listed, and uploaded only with the user's consent."""
    assert secret(name)


@pytest.mark.parametrize("name", HARMLESS)
def test_names_that_do_not_look_like_a_secret(name: str) -> None:
    """They are uploaded without a question."""
    assert not secret(name)


def test_names_that_are_never_uploaded() -> None:
    """The name decides, or the name and its folder's, in any spelling."""
    assert never(b"", b".ssh")
    assert never(b"x", b".Git")
    assert never(b".config", b"GH")
    assert not never(b"config", b"gh")
    assert not never(b"x", b"ssh")
    assert not never(b"x", b".github")
