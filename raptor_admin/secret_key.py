"""The secret key that is generated on the first start."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from raptor_admin.readers import Mistake
from sessions_app.disk import disk_full_message

MINIMUM_LENGTH = 32


def load_secret_key(path: Path) -> str:
    """Read the secret key, or generate it with mode 600 where there is none.

    Raises: Mistake: the file can be neither read nor written, or holds no key.
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
    if len(key) < MINIMUM_LENGTH:
        raise Mistake(f"{path} holds no secret key; delete the file and a new one is made (logins end then).")
    return key


def _create(path: Path) -> None:
    # Written aside and linked into place: of two processes that start together one wins, and neither ever
    # reads half a key.
    aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(64) + "\n")
        with suppress(FileExistsError):
            try:
                os.link(aside, path)
            except FileExistsError:
                raise
            except OSError:
                # The file system has no hard links: of two processes, one wins here as well.
                with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file_itself:
                    file_itself.write(aside.read_bytes())
    finally:
        aside.unlink()
