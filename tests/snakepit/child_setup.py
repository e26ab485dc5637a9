"""``python child_setup.py FD PROGRAM ...``: starts one program for a BEAM, as ``erl_child_setup`` does for ports.

It is the parent of the program and has one thread. What it tells through the descriptor: the process id of the program,
and its exit status in the end. When the other end of the descriptor is closed, the BEAM is gone, and so is this.
"""

import os
import select
import subprocess
import sys

control = int(sys.argv[1])
process = subprocess.Popen(sys.argv[2:])
os.close(0)
os.write(control, b"%d\n" % process.pid)
pidfd = os.pidfd_open(process.pid)
poll = select.poll()
poll.register(pidfd, select.POLLIN)
poll.register(control, select.POLLHUP)
if any(fd == pidfd for fd, _ in poll.poll()):
    os.write(control, b"%d\n" % process.wait())
else:
    os._exit(0)
