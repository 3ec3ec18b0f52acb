"""What is said when a Docker engine does not answer, or refuses something."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["image_remedy", "named_by", "no_engine", "reason"]


def reason(error: BaseException) -> str:
    """What went wrong in one line, without the layers of clients around it."""
    explanation = getattr(error, "explanation", None)
    if explanation:
        return " ".join(str(explanation).split()).rstrip(".")
    for inner in _causes(error):
        if isinstance(inner, TimeoutError):
            return str(inner) if "within" in str(inner) else "it did not answer in time"
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
    return " ".join(str(error).split()).rstrip(".")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def no_engine(where: str, error: BaseException) -> str:
    remedy = "Start Docker (sudo systemctl start docker, or Docker Desktop), or name another engine in DOCKER_HOST."
    if any(isinstance(cause, PermissionError) for cause in _causes(error)):
        remedy = "Let this user use Docker: sudo usermod -aG docker $USER, then log in again."
    return f"No Docker engine answers at {where}: {reason(error)}.\n{remedy}"


def named_by(source: str) -> str:
    return "the default" if source == "default" else f"named by {source}"


def image_remedy(image: str, source: str) -> str:
    correct = "name another one" if source == "default" else f"correct {source}"
    return f"Fetch it (docker pull {image}), or {correct}; behind a mirror set TESTCONTAINERS_HUB_IMAGE_NAME_PREFIX."
