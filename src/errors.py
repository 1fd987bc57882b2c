"""What a person is told when something goes wrong."""

import errno
import sys
import traceback
from types import TracebackType

from src.addresses import redacted

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space, over the quota, over the limit of a file's size


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
    if isinstance(error, RuntimeError) and text.startswith("DataLoader worker"):
        return f"a process that augments images was killed, often because memory is short ({text}); lower train.workers"
    return None


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
