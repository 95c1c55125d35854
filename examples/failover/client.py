"""client.py ADDRESS PORT: asks the desk ten times a second; prints a line when the answer, or its absence, is another."""
import socket
import sys
import time

address, port, before, since = sys.argv[1], int(sys.argv[2]), None, time.time()
while True:
    began = time.time()
    try:
        with socket.create_connection((address, port), timeout=0.25) as s:
            s.settimeout(2)
            answer = s.recv(200).decode().strip() or "nothing"
    except OSError:
        answer = "nobody answers"
    if answer != before:
        now = time.time()
        print("%.3f\t%.1f\t%s" % (now, now - since, answer), flush=True)
        before, since = answer, now
    time.sleep(max(0.0, 0.1 - (time.time() - began)))
