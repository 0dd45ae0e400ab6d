"""Stands in for the standard library's py_compile.py while packages are configured.

As a program it notes what it is asked to compile: the packages of Python compile the whole library while dpkg
waits, which bytecompile.py does beside it. As a module it is the original.
"""

import sys

if __name__ == "__main__" and len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
    words = [sys.executable, "-E", "-S"] + ["-O"] * sys.flags.optimize + [sys.argv[0]]
    with open("/run/edgebake/calls", "w", encoding="utf-8") as calls:
        calls.write("wake\n" + "\x1f".join(words) + "\x1e" + "\x1f".join(sys.argv[1:]) + "\n")
    sys.exit(0)

with open("/run/edgebake/python%d.%d.py" % sys.version_info[:2], encoding="utf-8") as original:
    exec(compile(original.read(), __file__, "exec"))
