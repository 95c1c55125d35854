"""client.py ADDRESS PORT: asks the desk ten times a second; prints a line when the answer, or its absence, is another."""
import socket
import sys
import time

address, port, before, good = sys.argv[1], int(sys.argv[2]), None, time.time()
while True:
    began = time.time()
    try:
        with socket.create_connection((address, port), timeout=0.25) as s:
            s.settimeout(0.5)
            answer = s.recv(200).decode().strip() or "nobody answers"
    except OSError:
        answer = "nobody answers"
    now = time.time()
    if answer != before:
        # When, and how long ago the last answer was.
        print("%.3f\t%.1f\t%s" % (now, now - good, answer), flush=True)
        before = answer
    if answer != "nobody answers":
        good = now
    time.sleep(max(0.0, 0.1 - (time.time() - began)))
