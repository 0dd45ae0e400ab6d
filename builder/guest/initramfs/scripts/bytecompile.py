"""Byte-compiles what packages asked py3compile for while they were configured, all at once.

Usage: bytecompile.py PY3COMPILE CALLS [LIBRARY-CALLS]

PY3COMPILE is the system's own program, which decides what is compiled and by which interpreter.
CALLS has one call in a line, each argument followed by the byte 0x1f. LIBRARY-CALLS are those that
pycompile.py noted: a command line, the byte 0x1e, files; with 0x1f between the words. The program is loaded once
instead of being started for each package, and its workers ("pythonX.Y -m py_compile -") run at the
end, as many as there are processors. The files they write are those that py3compile would have.
"""

import os
import subprocess
import sys

wanted = {}  # a worker's command line: its files, as the keys of a dict, which keeps their order


def note(version, optimize, workers):
    """Takes the place of py3compile's coroutine that feeds a worker."""
    if not isinstance(version, str):
        version = ".".join(str(number) for number in version)
    command = ("/usr/bin/python" + version,) + (("-O",) if optimize else ()) + ("-m", "py_compile", "-")
    while True:
        wanted.setdefault(command, {})[(yield)] = True


def ask(program, arguments):
    """Lets py3compile decide about one call; returns its exit code."""
    program["STDINS"].clear()
    sys.argv = ["py3compile"] + arguments
    try:
        program["main"]()
    except SystemExit as end:
        return end.code or 0
    return 0


def shares(files, count):
    """Splits files into lists of about the same number of bytes."""
    out = [[0, []] for _ in range(count)]
    for name in sorted(files, key=os.path.getsize, reverse=True):
        least = min(out, key=lambda share: share[0])
        least[0] += os.path.getsize(name)
        least[1].append(name)
    return [names for _, names in out if names]


def run(command, files):
    """Runs workers over files; returns the first exit code that is not 0."""
    workers = []
    for share in shares(files, os.cpu_count() or 1):
        worker = subprocess.Popen(command, stdin=subprocess.PIPE)
        worker.stdin.write("".join(name + "\n" for name in share).encode())
        worker.stdin.close()
        workers.append(worker)
    return next((code for code in [worker.wait() for worker in workers] if code), 0)


def note_library(path):
    """Takes the calls for the standard library, which have said what is compiled."""
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            command, files = line.rstrip("\n").split("\x1e")
            for name in files.split("\x1f"):
                wanted.setdefault(tuple(command.split("\x1f")) + ("-",), {})[name] = True


def note_packages(path, calls):
    """Lets py3compile decide about its calls; returns the first exit code that is not 0."""
    with open(path, encoding="utf-8") as source:
        code = compile(source.read(), path, "exec")
    program = {"__name__": "py3compile", "__file__": "/usr/bin/py3compile"}
    exec(code, program)
    program["py_compile"] = note
    with open(calls, encoding="utf-8") as lines:
        for line in lines:
            arguments = line.rstrip("\n").split("\x1f")[:-1]
            code = ask(program, arguments)
            if code:
                print("py3compile", *arguments, "ended with exit code", code)
                return code
    return 0


def main():
    for path in sys.argv[3:]:
        note_library(path)
    code = note_packages(*sys.argv[1:3])
    if code:
        return code
    return next((code for code in [run(*job) for job in wanted.items()] if code), 0)


sys.exit(main())
