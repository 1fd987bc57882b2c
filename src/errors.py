"""Error messages for the user."""

import errno
import re
import sys
import traceback
from types import TracebackType

from src.addresses import redacted

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space, quota exceeded, file too large
# The fix for a small /dev/shm, where Linux keeps shared memory and semaphores.
MORE_SHM = "Make it larger (Docker: docker run --shm-size=1g), or train without worker processes: -S train.workers=0"
# Messages of PyTorch and NCCL about /dev/shm. Only "shared memory" may also mean that of GPU kernels.
SHM = re.compile(r".*(shared memory ?\(shm\)|shared memory object|/dev/shm|killed by signal: Bus error).*")


class UserError(Exception):
    """A mistake that the user can fix.

    The message says what is wrong, why, and which command fixes it. The entry points (`stages`, `commands`, `recipes`)
    print it without a traceback and exit with 1.
    """


def sentence(error: Exception) -> str | None:
    """The message for an error that the user or the machine caused. None for an error of the program.

    Errors of the program keep their traceback for a bug report.
    """
    text = "\n".join(printable(line) for line in redacted(str(error)).split("\n"))
    if isinstance(error, UserError):
        return text
    if isinstance(error, OSError) and _of_a_semaphore(error):
        return f"worker processes cannot start: /dev/shm has no room for semaphores ({error.strerror}). {MORE_SHM}"
    if isinstance(error, OSError) and (error.errno in FULL or "temporary directory" in text):
        where = f" at {printable(str(error.filename))}" if error.filename else ""
        return (
            f"the disk is full, or a limit on file sizes is reached{where} ({error.strerror}). Existing files are "
            "intact. Make room and run the same command again"
        )
    if isinstance(error, OSError) and error.errno and error.filename:
        return f"{printable(str(error.filename))}: {error.strerror}. Fix the cause, then run the same command again"
    # PyTorch: torch.OutOfMemoryError on CUDA, a bare RuntimeError on the CPU.
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return (
            f"not enough memory: {text.partition(chr(10))[0] or type(error).__name__}\n"
            "  Reduce train.batch_size, evaluate.batch_size, gradcam.batch_size, model.width or data.size, "
            "for example: -S train.batch_size=32"
        )
    if isinstance(error, RuntimeError):
        worker = text.startswith("DataLoader worker")
        said = str(error.__cause__ or error) if worker else text  # the cause names the signal
        if found := SHM.search(said):
            return f"/dev/shm, which holds shared memory, is too small ({found[0]}). {MORE_SHM}"
        if worker:
            return (
                f"a process that augments images was killed ({said.strip()}). Often the cause is too little memory. "
                "Use fewer processes, or none: -S train.workers=0"
            )
    return None


def _of_a_semaphore(error: OSError) -> bool:
    """Whether the error comes from making a semaphore. Only its traceback shows this, as the error names no file."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code.co_filename.endswith("multiprocessing/synchronize.py") for frame, _ in frames)


def printable(text: str) -> str:
    """`text` for one line of a terminal, with escapes for all unprintable characters.

    Names of files and classes are untrusted. They may contain terminal commands, or bytes that are not text.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def redact_tracebacks() -> None:
    """Apply `redacted` to uncaught errors of this process before they are printed."""

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))

    sys.excepthook = show
