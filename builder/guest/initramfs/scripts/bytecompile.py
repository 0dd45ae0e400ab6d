"""Byte-compiles what packages ask for while they are configured, beside dpkg.

Usage: bytecompile.py VERSION ASKED BATCH PY3COMPILE CALLS...

VERSION is that of Python (3.11) whose modules somebody else compiles: they are written to the file ASKED, in lines of "module" or
"script" (how the compiler is called), 0x1f, name. It may be "none".

PY3COMPILE is the system's own program, which decides what is compiled and by which interpreter: it is loaded once
instead of being started for each package. CALLS, files or pipes, are read one after the other. Each has one call of it in
a line, each argument followed by the byte 0x1f; or one that pycompile.py noted: a command line, the byte 0x1e, files; with 0x1f between the words. The
line "end" is the last one. Lines "wake" mean nothing.

Workers ("pythonX.Y -m py_compile -"; -B: what they import is none of the image's business) get BATCH files each, in the order of the calls. So which files share a
process depends on the calls alone, never on time: what a process compiled before may show in what it compiles next.
There is one worker at a time, and one for each processor when the calls have ended. The files that they write are
those that py3compile would have.
"""

import glob
import os
import queue
import subprocess
import sys
import threading

version, asked_file = sys.argv[1:3]  # py3compile gets other arguments
batch_size = int(sys.argv[3])  # files; a worker's start takes as long as some five of them
seen = set()  # commands with files
asked = {}  # files that somebody else compiles, and how
pending = {}  # a worker's command line: its next files
late = []  # calls for files that are covered now
devices = {}  # of directories
elsewhere = {
    ("/usr/bin/python" + version, "-B", "-m", "py_compile", "-"): "module",
    ("/usr/bin/python" + version, "-E", "-S", "/usr/lib/python" + version + "/py_compile.py", "-"): "script",
}
jobs = queue.SimpleQueue()  # (command line, files), and None for each runner
codes = [0]


def want(command, name):
    """Notes a file to compile, once."""
    if (command, name) in seen:
        return
    seen.add((command, name))
    how = elsewhere.get(command)
    if how:
        asked.setdefault(name, how)  # what is compiled is not compiled again in another way
        return
    if covered(name):
        late.append("\x1f".join(command[:-1]) + "\x1e" + name + "\n")
        return
    batch = pending.setdefault(command, [])
    batch.append(name)
    if len(batch) == batch_size:
        jobs.put((command, pending.pop(command)))


def covered(name):
    """Tells whether a file is mounted over this one. os.path.ismount looks at all directories above."""
    directory = os.path.dirname(name)
    try:
        if directory not in devices:
            devices[directory] = os.lstat(directory or ".").st_dev
        return os.lstat(name).st_dev != devices[directory]
    except OSError:
        return False


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
    diverted = ""  # what dpkg says of a diverted file is not in the package's list
    if os.path.exists("/var/lib/dpkg/diversions"):
        with open("/var/lib/dpkg/diversions", encoding="utf-8") as diversions:
            diverted = diversions.read()

    def from_package(package, extensions=(".py",)):
        # A package that may be there for several architectures has its own behind its name, whatever it is called by.
        names = package, package + ":*", package.partition(":")[0]
        lists = next(filter(None, (glob.glob("/var/lib/dpkg/info/" + name + ".list") for name in names)), [])
        if any(extension + "\n" in diverted for extension in extensions) or len(lists) != 1:
            yield from theirs(package, extensions)
            return
        with open(lists[0], encoding="utf-8") as names:
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
    py3compile, paths = sys.argv[4], sys.argv[5:]  # py3compile gets other arguments
    # Daemons: what fails here ends the program, though they wait for jobs.
    runners = [threading.Thread(target=run, daemon=True)]
    runners[0].start()
    # Unbuffered, so that a call is heard when it is made.
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
    if asked:
        with open(asked_file, "a", encoding="utf-8") as lines:
            lines.writelines(how + "\x1f" + name + "\n" for name, how in asked.items())
    print(len(asked), "modules are asked for,", len(seen) - len(asked) - len(late), "compiled here")
    return next((code for code in codes if code), 0)


sys.exit(main())
