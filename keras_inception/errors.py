"""What the user sees when something is wrong, and the imports of optional packages."""

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class InputError(ValueError):
    """A mistake in what the package was given: an argument, a file, a dataset.

    The message says what happened, what was expected and how to mend it, with the values.
    The command line prints it as one line and ends with exit code 2.
    """


class MissingExtra(ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


class TrainingError(RuntimeError):
    """Training cannot go on; what was saved last stays as it was.

    The command line prints it as one line.

    Attributes:
        exit_code: with which the command line ends.
    """

    exit_code = 1


def unknown(kind: str, name: object, known: Iterable[str]) -> InputError:
    """Return the error for a name that does not exist, near names suggested.

    Args:
        kind: what is named, for example "model".
        name: the name that was given.
        known: every legal name.

    Returns:
        An `InputError`, to be raised by the caller.
    """
    known = list(known)
    spelled = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(str(name).lower(), spelled, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(spelled[match] for match in near)}?" if near else ""
    return InputError(f"Unknown {kind}: {name!r}.{hint} Known: {', '.join(known) or 'none'}.")


def import_extra(module: str, extra: str) -> ModuleType:
    """Import an optional package, or say how to install it.

    Args:
        module: the dotted module name, for example "matplotlib.pyplot".
        extra: the extra of this package that installs it.

    Returns:
        The imported module.

    Raises:
        MissingExtra: if the package is not installed; names the package and the command.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise MissingExtra(
            f"This needs the package {package}, which is not installed. "
            f'Install it with: pip install "keras-inception[{extra}]"'
        ) from error
