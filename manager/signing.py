"""Keys that answer for checkpoints: Ed25519 in PEM files. The package `cryptography` is loaded where one is used."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from eventstore.checkpoints import Key
from eventstore.crashpoints import crash_point
from eventstore.errors import InvalidRequest, OutliveError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

VARIABLE = "OUTLIVE_SIGNING_KEY"
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MOST_BYTES = 16_384  # of a key's file


class KeyUnusable(OutliveError):
    """A key cannot be made, read or used."""


def default_path() -> Path:
    """Where a key is kept if nobody names a place: in the user's configuration, and so outside of any home."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "outlive" / "signing-key.pem"


def make(path: Path) -> Key:
    """A new key in a file of ours alone, which must not exist. Raises `KeyUnusable`."""
    _require_package()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = Ed25519PrivateKey.generate()
    content = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        crash_point("tool.before_key")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            crash_point("tool.after_key")
            os.fchmod(descriptor, 0o600)  # whatever the umask
            crash_point("tool.after_key_mode")
            os.write(descriptor, content)
            crash_point("tool.after_key_written")
            os.fsync(descriptor)
            crash_point("tool.after_key_synced")
        finally:
            os.close(descriptor)
    except FileExistsError as error:
        raise KeyUnusable(f"cannot make a key: there is a file {path}; name another") from error
    except OSError as error:
        raise KeyUnusable(f"cannot make a key at {path}: {error.strerror}; name another place") from error
    return load(path)


def load(path: Path) -> Key:
    """The private key in a file. Raises `KeyUnusable`, also where others may read it."""
    from_file = _load(path)
    if from_file.sign is None:
        raise KeyUnusable(f"cannot sign with {path}: it holds a public key; name the file of the private one")
    return from_file


def of_environment() -> Key | None:
    """The key that OUTLIVE_SIGNING_KEY names, if it names one. Raises `KeyUnusable`."""
    named = os.environ.get(VARIABLE)
    return load(Path(named).expanduser()) if named else None


def public(given: str) -> Key:
    """The key to check signatures with: its id, or a file with a public or private key in PEM. Raises `KeyUnusable`."""
    key, path = of_id(given.lower()), Path(given).expanduser()
    if key is None and re.fullmatch(r"[0-9A-Fa-f]{8,}", given) and not path.exists():
        raise KeyUnusable(
            f"cannot use the key {given}: that is neither a file nor the id of a key, which has 64 hex digits, "
            f"not {len(given)}; see `outlive keys show`"
        )
    return key or _load(path)


def of_id(given: str) -> Key | None:
    """The public key with this id; None for what is no id."""
    if _HEX.fullmatch(given) is None:
        return None
    _require_package()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return _public(Ed25519PublicKey.from_public_bytes(bytes.fromhex(given)))


def as_pem(key: Key) -> str:
    """The public half as other programs read it."""
    _require_package()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    half = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.id))
    return half.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _load(path: Path) -> Key:
    _require_package()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

    content = _content(path)
    is_private = b"PRIVATE" in content
    try:
        key = load_pem_private_key(content, None) if is_private else load_pem_public_key(content)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnusable(
            f"cannot use {path}: it holds no key in PEM, or one with a password; name another"
        ) from error
    if isinstance(key, Ed25519PrivateKey):
        _require_private(path)
        return _public(key.public_key())._replace(sign=key.sign)
    if isinstance(key, Ed25519PublicKey):
        return _public(key)
    raise KeyUnusable(f"cannot use {path}: it is no Ed25519 key; make one with `outlive keys new`")


def _public(key: Ed25519PublicKey) -> Key:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    def is_signature(signature: bytes, message: bytes) -> bool:
        try:
            key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    return Key(key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex(), is_signature)


def _content(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as error:
        raise KeyUnusable(
            f"cannot read the key {path}: {error.strerror}; give the file of a key, or make one with `outlive keys new`"
        ) from error


def _require_private(path: Path) -> None:
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o077:
        raise KeyUnusable(
            f"cannot use the key {path}: its mode {mode:04o} lets others read it; run: chmod 600 {path}"
        )


def _require_package() -> None:
    try:
        import cryptography  # noqa: F401  (whether it is there)
    except ImportError as error:
        raise InvalidRequest(
            "cannot use a key: the package cryptography is not installed; run: pip install 'outlive[signing]'"
        ) from error
