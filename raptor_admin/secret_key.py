"""The secret key that is generated on the first start."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from raptor_admin.readers import SECRET_KEY_LENGTH, Mistake
from sessions_app.transactions.disk import disk_full_message


def load_secret_key(path: Path) -> str:
    """Read the secret key; generate it with mode 600 if the file does not exist.

    Raises: Mistake: the file can be neither read nor written, or does not contain a key.
    """
    try:
        if not path.exists():
            _create(path)
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        if message := disk_full_message(error, folder=path.parent):
            raise Mistake(f"RAPTOR_SECRET_KEY cannot be generated. {message}") from error
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
            try:
                os.link(temporary, path)
            except FileExistsError:
                raise
            except OSError:
                # The file system has no hard links: of two processes, one wins here as well.
                with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file_itself:
                    file_itself.write(temporary.read_bytes())
    finally:
        temporary.unlink()
