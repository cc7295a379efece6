"""The secret key that is generated on the first start."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from raptor_admin.readers import SECRET_KEY_LENGTH, Mistake


def load_secret_key(path: Path) -> str:
    """Read the secret key; generate it with mode 600 if the file does not exist.

    Raises: Mistake: the file can be neither read nor written, or does not contain a key.
    """
    try:
        if not path.exists():
            _create(path)
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise Mistake(
            f"RAPTOR_SECRET_KEY is not set, and {path} can be neither read nor written ({reason})."
        ) from error
    if len(key) < SECRET_KEY_LENGTH:
        raise Mistake(
            f"{path} does not contain a secret key. Delete the file to have a new one generated; "
            "this ends all logins."
        )
    return key


def _create(path: Path) -> None:
    # Write a temporary file and link it into place. If two processes start together, one of them wins and
    # neither reads an incomplete key.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(64) + "\n")
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
