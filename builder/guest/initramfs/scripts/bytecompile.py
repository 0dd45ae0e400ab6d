"""Byte-compiles what packages ask for while they are configured, beside dpkg.

Usage: bytecompile.py PY3COMPILE CALLS...

What is covered while packages are configured (py_compile.py itself) is left to a later call: its calls are written to
the last one's name and ".late".

PY3COMPILE is the system's own program, which decides what is compiled and by which interpreter: it is loaded once
instead of being started for each package. CALLS, files or pipes, are read one after the other. Each has one call of it in
a line, each argument followed by the byte 0x1f; or one that pycompile.py noted: a command line, the byte 0x1e, files; with 0x1f between the words. The
line "end" is the last one. Lines "wake" mean nothing.

Workers ("pythonX.Y -m py_compile -"; -B: what they import is none of the image's business) get BATCH files each, in the order of the calls. So which files share a
process depends on the calls alone, never on time: what a process compiled before may show in what it compiles next.
There is one worker at a time, and one for each processor when the calls have ended. The files that they write are
those that py3compile would have.
"""

import os
import queue
import subprocess
import sys
import threading

BATCH = 64  # files: a worker's start takes as long as some five of them

seen = set()  # commands with files
pending = {}  # a worker's command line: its next files
late = []  # calls for files that are covered now
jobs = queue.SimpleQueue()  # (command line, files), and None for each runner
codes = [0]


def want(command, name):
    """Notes a file to compile, once."""
    if (command, name) in seen:
        return
    seen.add((command, name))
    if os.path.ismount(name):
        late.append("\x1f".join(command[:-1]) + "\x1e" + name + "\n")
        return
    batch = pending.setdefault(command, [])
    batch.append(name)
    if len(batch) == BATCH:
        jobs.put((command, pending.pop(command)))


def note(version, optimize, workers):
    """Takes the place of py3compile's coroutine that feeds a worker."""
    if not isinstance(version, str):
        version = ".".join(str(number) for number in version)
    command = ("/usr/bin/python" + version,) + (("-O",) if optimize else ()) + ("-B", "-m", "py_compile", "-")
    while True:
        want(command, (yield))


def load(path):
    """Returns py3compile's variables."""
    with open(path, encoding="utf-8") as source:
        code = compile(source.read(), path, "exec")
    program = {"__name__": "py3compile", "__file__": "/usr/bin/py3compile"}
    exec(code, program)
    program["py_compile"] = note
    patch(program)
    return program


def patch(program):
    """Has py3compile read the list of a package's files itself, which dpkg takes longer to say."""
    files = program.get("dpf")
    if files is None:
        return
    theirs = files.from_package
    diverted = os.path.getsize("/var/lib/dpkg/diversions") if os.path.exists("/var/lib/dpkg/diversions") else 0

    def from_package(package, extensions=(".py",)):
        path = "/var/lib/dpkg/info/" + package + ".list"
        if diverted or not os.path.exists(path):
            yield from theirs(package, extensions)
            return
        with open(path, encoding="utf-8") as names:
            yield from (name for name in names.read().splitlines() if name.endswith(tuple(extensions)))

    files.from_package = from_package


def ask(program, arguments):
    """Lets py3compile decide about one call."""
    program["STDINS"].clear()
    sys.argv = ["py3compile"] + arguments
    try:
        program["main"]()
    except SystemExit as end:
        if end.code:
            print("py3compile", *arguments, "ended with exit code", end.code)
            codes.append(end.code if isinstance(end.code, int) else 1)


def listen(path, calls):
    """Takes calls until their end."""
    program = None
    for line in calls:
        line = line.rstrip("\n")
        if line == "end":
            return
        if "\x1e" in line:
            command, files = line.split("\x1e")
            for name in files.split("\x1f"):
                want(tuple(command.split("\x1f")) + ("-",), name)
        elif line != "wake":
            program = program or load(path)
            ask(program, line.split("\x1f")[:-1])


def run():
    """Runs workers until there are no more jobs."""
    for command, files in iter(jobs.get, None):
        worker = subprocess.run(command, input="".join(name + "\n" for name in files).encode())
        codes.append(worker.returncode)


def main():
    paths = sys.argv[2:]  # py3compile gets other arguments
    # Daemons: what fails here ends the program, though they wait for jobs.
    runners = [threading.Thread(target=run, daemon=True)]
    runners[0].start()
    # Unbuffered, so that a call is heard when it is made.
    py3compile = sys.argv[1]
    for path in paths:
        with open(path, encoding="utf-8") as calls:
            listen(py3compile, iter(calls.readline, ""))
    for job in pending.items():
        jobs.put(job)
    runners += [threading.Thread(target=run, daemon=True) for _ in range((os.cpu_count() or 1) - 1)]
    for runner in runners[1:]:
        runner.start()
    for _ in runners:
        jobs.put(None)
    for runner in runners:
        runner.join()
    if late:
        with open(paths[-1] + ".late", "w", encoding="utf-8") as calls:
            calls.writelines(late)
    return next((code for code in codes if code), 0)


sys.exit(main())
