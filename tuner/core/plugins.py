"""Somebody's own Python files: the folders that `TUNER_PLUGINS` names, imported; one that breaks is told."""

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

from tuner.core.errors import Unavailable
from tuner.core.found_files import why_unreadable


def plugin_folders(broken: dict[str, str]) -> list[Path]:
    """The folders that `TUNER_PLUGINS` names, importable from here on, in child processes too.

    Args:
        broken: gets those that do not exist, with the reason.
    """
    folders = []
    for name in filter(None, os.environ.get("TUNER_PLUGINS", "").split(os.pathsep)):
        folder = Path(os.path.realpath(name))  # `resolve` raises on a loop of links
        if not folder.is_dir():
            broken[name] = "TUNER_PLUGINS names it, and it is no folder"
            continue
        folders.append(folder)
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
            # Processes that run library calls import their modules by name, and load no registry.
            inherited = os.environ.get("PYTHONPATH")
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [inherited, str(folder)]))
    return folders


def plugin_modules(broken: dict[str, str]) -> list[ModuleType]:
    """The modules in those folders, but for hidden ones and those whose names begin with `_`.

    Args:
        broken: gets files that cannot be imported, with the reason.

    Raises:
        Unavailable: one raises `KeyboardInterrupt`, which would end every command without a word.
    """
    modules = []
    for path in (path for folder in plugin_folders(broken) for path in sorted(folder.glob("[!_.]*.py"))):
        if reason := why_unreadable(path):
            broken[str(path)] = reason
            continue
        try:
            module = importlib.import_module(path.stem)
        except (Exception, SystemExit) as error:
            broken[str(path)] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        except KeyboardInterrupt as error:
            raise _own_interrupt(path, error) from None
        if Path(str(getattr(module, "__file__", ""))).resolve() == path:
            modules.append(module)
        else:
            broken[str(path)] = f"there is another module {path.stem}: give the file another name"
    return modules


def _own_interrupt(plugin: Path, error: KeyboardInterrupt) -> BaseException:
    """What to raise for an interruption during the import of a plug-in: Ctrl-C stays what it is.

    The command line's handler of signals raises it in itself, a plug-in in its own folder.
    """
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is not None and Path(place.tb_frame.f_code.co_filename).resolve().is_relative_to(plugin.parent):
        return Unavailable(
            f"the plug-in {plugin} raised KeyboardInterrupt when it was loaded: mend it, or take it out of "
            "TUNER_PLUGINS"
        )
    return error
