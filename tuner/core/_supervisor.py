"""The process between the lab and a program under limits: see `contained.py`, which starts it as a script.

`python -I -S _supervisor.py SECONDS MEMORY_BYTES OUTPUT_BYTES FILE_BYTES OUTPUT COMMAND...`. It says on its
standard output how the program ended: exit code (or negative signal) and the limit that was passed, if any.
Few imports: each check of a kernel starts one of these.
"""

import os
import resource
import select
import signal
import sys
import time
from typing import NoReturn

# Without site-packages, and so without the package: the neighbouring file by its own name.
sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 (pathlib takes 5 ms to import)
import descendants  # type: ignore[import-not-found, unused-ignore]

_LOOKS_EVERY_MS = (5, 50)  # at first, later
_YOUNG_S = 0.2


def _program(command: list[str], sink: int, file_bytes: int, supervisor: int) -> NoReturn:
    """The forked process: becomes the program."""
    code = 127
    try:
        os.setsid()
        descendants.die_with_parent(supervisor)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores the last two
            signal.signal(number, signal.SIG_DFL)
        nowhere = os.open(os.devnull, os.O_RDONLY)
        for descriptor, source in ((0, nowhere), (1, sink), (2, sink)):
            os.dup2(source, descriptor, inheritable=True)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        if file_bytes and (hard == resource.RLIM_INFINITY or file_bytes < hard):
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        if command[:3] == [sys.executable, "-I", "-S"]:
            sys.argv = command[3:]
            with open(sys.argv[0], "rb") as file:  # noqa: PTH123
                text = compile(file.read(), sys.argv[0], "exec")
            code = 1
            exec(text, {"__name__": "__main__", "__file__": sys.argv[0]})
            code = 0
        else:
            os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]} cannot be started: {error.strerror}\n".encode())
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _resident_bytes() -> int:
    pages = 0
    for pid in descendants.descendants_of(os.getpid()):
        try:
            with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123
                pages += int(file.read().split()[1])  # proc(5): the second is what is resident
        except (OSError, IndexError):
            pass  # it ended
    return pages * resource.getpagesize()


def main() -> None:
    """Starts the program and waits for its end, a passed limit, or the end of standard input."""
    seconds, memory, output, file_bytes = float(sys.argv[1]), *map(int, sys.argv[2:5])
    descendants.become_subreaper()
    began = time.monotonic()
    news, wake = os.pipe()
    os.set_blocking(news, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    sink = os.open(sys.argv[5], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    me = os.getpid()
    pid = os.fork()
    if pid == 0:
        _program(sys.argv[6:], sink, file_bytes, me)
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(news, select.POLLIN)
    passed = ""
    while not passed:
        young = time.monotonic() - began < _YOUNG_S
        ready = [descriptor for descriptor, _ in poll.poll(_LOOKS_EVERY_MS[0 if young else 1])]
        if news in ready:
            os.read(news, 4096)
        ended, status = os.waitpid(pid, os.WNOHANG)
        # What prints too much dies of SIGXFSZ, often before this process has looked.
        if output and os.fstat(sink).st_size >= output:
            passed = "output"
        if ended:
            break
        if 0 in ready:
            passed = "closed"
        elif seconds and time.monotonic() - began > seconds:
            passed = "time"
        elif memory and _resident_bytes() > memory:
            passed = "memory"
    descendants.kill_quietly(pid)  # after its end: what it forked and left in its group
    if not ended:
        _, status = os.waitpid(pid, 0)
    descendants.end_all_children()
    try:
        os.write(1, f"{os.waitstatus_to_exitcode(status)} {passed}".encode())
    except BrokenPipeError:
        pass  # the lab has died


if __name__ == "__main__":
    main()
