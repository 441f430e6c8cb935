"""The errors a user of hydra_ml can meet. Each says what is wrong, the value found, what is allowed, where, what to do.

Stages and the command line print these without a traceback and exit non-zero; anything else is a defect of ours.
"""

from __future__ import annotations

import errno
import re

from hydra_ml.shown_text import visible_lines

INTERRUPTED = 130  # exit code after Ctrl-C, as shells expect it
# System errors that are the caller's to mend, told as our own are.
DISK_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


class HydraError(Exception):
    """Base of every error that is the caller's to mend; its text is complete and ready to print."""

    exit_code = 1
    may_pass = True  # whether the same thing may go well a little later; else somebody must mend something first


class DataError(HydraError, ValueError):
    """An input file or table is not what it should be."""

    may_pass = False


class ParamsError(HydraError, ValueError):
    """`params.yaml` or a command's options are wrong; lists every problem at once."""

    exit_code = 2
    may_pass = False


class LLMError(HydraError, RuntimeError):
    """The black-box LLM cannot be reached, or refuses for good."""


class LLMDown(LLMError):
    """Nothing that is asked of the black-box LLM is answered any more: an outage, as far as can be seen."""


class BudgetExceeded(LLMError):
    """The run would pass its allowance of LLM calls or tokens; answers already bought stay in the cache."""

    may_pass = False


class ArtifactError(HydraError, ValueError):
    """A stored base, head bank or table is missing, damaged, or does not belong with the others."""

    may_pass = False


class OtherVersionError(ArtifactError):
    """Something stored is whole, but another version of this software made it, and this one cannot read it."""


class StoreError(ArtifactError):
    """MLflow's store cannot be reached, or fails."""

    may_pass = True


class VersionsError(HydraError, RuntimeError):
    """DVC or git failed, is not set up here, or cannot reach its remote."""


class StageError(VersionsError):
    """A stage of dvc.yaml failed for a reason of its own, and will again until that is mended."""

    may_pass = False


def exit_of(error: BaseException) -> tuple[str, int]:
    """What to say of an error that is the caller's to mend, and the exit code. Raises any other again."""
    if isinstance(error, HydraError):
        return visible_lines(str(error)), error.exit_code
    if isinstance(error, OSError) and error.errno in DISK_TROUBLE:
        return f"{visible_lines(str(error))}. Nothing half-written stays; mend it and run the same command again.", 1
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; run the same command again to go on.", INTERRUPTED
    raise error


def without_secret(uri: str) -> str:
    """The address, or a text with addresses in it, without user names and passwords."""
    return re.sub(r"//[^/\s]*@", "//", uri)
