"""The version of this code.

It is written here and not looked up, because a process must state the version that it runs, and not
the one that was installed since. The packaging reads it from here.
"""

VERSION = "0.1.0"
