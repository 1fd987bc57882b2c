"""What a person is told when something goes wrong."""

import errno
import re
import sys
import traceback
from types import TracebackType

from src.addresses import redacted

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space, over the quota, over the limit of a file's size
# The cure for a small /dev/shm, where Linux keeps shared memory and semaphores.
MORE_SHM = "Give it more room (Docker: docker run --shm-size=1g), or train without worker processes: -S train.workers=0"
# What PyTorch and NCCL say of /dev/shm. "Shared memory" alone may be that of a GPU's kernels.
SHM = re.compile(r".*(shared memory ?\(shm\)|shared memory object|/dev/shm|killed by signal: Bus error).*")


class UserError(Exception):
    """A mistake that the person can mend.

    The message says what is wrong, where, and what to do next; the doors (`stages`, `commands`,
    `recipes`) print it without a traceback and exit with 1.
    """


def sentence(error: Exception) -> str | None:
    """What to tell the person of an error that is theirs or the machine's; None for one of the program.

    A traceback of the program's errors is wanted: it goes into a bug report.
    """
    text = "\n".join(printable(line) for line in redacted(str(error)).split("\n"))
    if isinstance(error, UserError):
        return text
    if isinstance(error, OSError) and _of_a_semaphore(error):
        return f"worker processes cannot start: /dev/shm does not take their semaphores ({error.strerror}). {MORE_SHM}"
    if isinstance(error, OSError) and (error.errno in FULL or "temporary directory" in text):
        where = f" at {printable(str(error.filename))}" if error.filename else ""
        return (
            f"the disk is full, or a limit on the size of files is reached{where} ({error.strerror}). What was whole "
            "before is still whole; make room and run the same command again"
        )
    if isinstance(error, OSError) and error.errno and error.filename:
        return f"{printable(str(error.filename))}: {error.strerror}. Mend that and run the same command again"
    # PyTorch: torch.OutOfMemoryError on CUDA, a bare RuntimeError on the CPU.
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return (
            f"memory is short: {text.partition(chr(10))[0] or type(error).__name__}\n"
            "  Less is needed with a smaller train.batch_size, evaluate.batch_size, gradcam.batch_size, model.width or "
            "data.size"
        )
    if isinstance(error, RuntimeError):
        worker = text.startswith("DataLoader worker")
        said = str(error.__cause__ or error) if worker else text  # the cause names the signal
        if found := SHM.search(said):
            return f"/dev/shm, the memory that processes share, is too small ({found[0]}). {MORE_SHM}"
        if worker:
            return (
                f"a process that augments images was killed, often because memory is short ({said.strip()}); "
                "lower train.workers"
            )
    return None


def _of_a_semaphore(error: OSError) -> bool:
    """Whether the error comes from making a semaphore. Its traceback says so; the error itself names no file."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code.co_filename.endswith("multiprocessing/synchronize.py") for frame, _ in frames)


def printable(text: str) -> str:
    """`text` on one line of a terminal: whatever is not to be seen becomes its escape.

    Names of files and classes are a stranger's, and may hold commands to the terminal or bytes that are no text.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def redact_tracebacks() -> None:
    """Print uncaught errors of this process through `redacted`."""

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))

    sys.excepthook = show
