"""The command line: thin; parses, calls the library, prints.

Each command is a file of its own name or group, whose `register` adds it; files that begin with `_`, and
`common`, are what commands share. `main` turns an error that a user can mend into one line and exit code 2.
Heavy imports stand inside the commands, so that `tuner --help` answers at once.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tuner.core.errors import InvalidSetting

app = typer.Typer(
    name="tuner",
    help="Kernel autotuning lab: which configuration of which implementation is fastest for this shape on "
    "this device, with a number you can trust.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from tuner import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="The lab's version.")
    ] = False,
) -> None:
    pass


for name in (
    "sweep",
    "query",
    "show",
    "describe",
    "compare",
    "check",
    "inspect",
    "exchange",
    "replay",
    "forget",
    "dispatch",
    "verify_export",
    "report",
    "serve",
    "verify",
    "model",
):
    import_module(f"tuner.cli.{name}").register(app)


def main() -> None:
    """Entry point: an error a user can mend is one line on stderr and exit code 2."""
    import gc

    from tuner.cli import _signals
    from tuner.cli._output import settled, standing
    from tuner.core.errors import BuildError, InvalidSetting, TunerError

    # Modules that are loaded leave no garbage, and to look for some after every 700 objects takes a twelfth
    # of what `tuner best` takes in all.
    gc.set_threshold(50_000, 20, 20)
    standing()
    _signals.install()
    try:
        with settled():
            code = app(standalone_mode=False)
    except BuildError as error:
        _fail(str(error).splitlines()[0])  # the compiler's first error; its log follows it
    except InvalidSetting as error:
        _fail(str(_as_typed(error, sys.argv)))
    except TunerError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        sys.exit(_signals.exit_code(130))
    except SystemExit as error:
        if where := _raised_by_plugin(error):
            _fail(f"plug-in {where} ended the command (SystemExit): mend it, or take it out of TUNER_PLUGINS")
        raise
    except BrokenPipeError:
        sys.exit(0)  # the reader (head, less) has seen enough
    except OSError as error:
        _fail(_system(error))
    except Exception as error:
        # Errors of the option parser know how to say themselves in a line.
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            _fail(_parser_line(error))
        if _signals.received():
            _signals.close_output()  # the terminal went, and with it where this was to be printed
            sys.exit(_signals.exit_code(130))
        raise
    if _signals.received():
        _signals.close_output()
    sys.exit(_signals.exit_code(code) if isinstance(code, int) else 0)


def _as_typed(error: "InvalidSetting", arguments: list[str]) -> "InvalidSetting":
    """An error about a setting under the name of the option that gave it; as it is where none did."""
    from tuner.core.protocol import USER_NAMES

    option = "--" + USER_NAMES.get(error.setting, error.setting).replace("_", "-")
    given = any(word == option or word.startswith(f"{option}=") for word in arguments)
    return error.called(option) if given else error


def _parser_line(error: Any) -> str:
    """What the option parser has to say; of an argument that is missing also what it would be."""
    line = str(error.format_message())
    if type(error).__name__ != "MissingParameter":
        return line
    meant = getattr(error.param, "help", None)
    command = error.ctx.command_path.removeprefix("python -m ") if error.ctx else "tuner"
    return " ".join(f"{line} {meant or ''} ({command} --help has examples)".split())


def _raised_by_plugin(error: BaseException) -> str | None:
    """The innermost file and line of somebody's plug-in that an exception passed through."""
    import os
    from traceback import extract_tb

    named = os.environ.get("TUNER_PLUGINS", "").split(os.pathsep)
    folders = tuple(os.path.join(os.path.realpath(name), "") for name in named if name)  # noqa: PTH118
    frames = [f for f in extract_tb(error.__traceback__) if os.path.realpath(f.filename).startswith(folders)]
    return f"{frames[-1].filename}, line {frames[-1].lineno}," if frames else None


def _system(error: OSError) -> str:
    """What the system refused, and what would help where that is known."""
    import errno

    named = error.filename
    if error.errno == errno.ENOSPC and error.filename2:
        named = error.filename2  # of a copy: it is the copy that found no space
    where = f"{named}: " if named else ""
    cure = ": raise the limit with ulimit -n" if error.errno in (errno.EMFILE, errno.ENFILE) else ""
    return f"{where}{(error.strerror or str(error)).lower()}{cure}"


def _fail(message: str) -> None:
    from tuner.report.text import safe

    try:
        print("error: " + safe(" ".join(message.split())), file=sys.stderr, flush=True)
    except OSError:
        pass  # nobody reads it; the exit code says it too
    sys.exit(2)
