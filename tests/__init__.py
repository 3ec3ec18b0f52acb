"""The tests. Whoever runs them, they begin with the signals of a program that was started from a terminal."""

import signal

from containertest.processes import default_signals

# A shell's "&", nohup, supervisors and CI runners have signals ignored or blocked, and child processes inherit that.
default_signals()
if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
    signal.signal(signal.SIGINT, signal.default_int_handler)
