"""client.py ADDRESS PORT: asks through the address 20 times a second; a line "TIME HOST", or "TIME -", for each"""
import socket
import sys
import time

address, port = sys.argv[1], int(sys.argv[2])
with open("/run/client.log", "w", buffering=1) as f:
    while True:
        t = time.time()
        try:
            s = socket.create_connection((address, port), timeout=0.2)
            d = s.recv(64).decode().split()
            s.close()
            f.write("%.3f %s\n" % (time.time(), d[0] if d else "-"))
        except OSError:
            f.write("%.3f -\n" % t)
        time.sleep(max(0, 0.05 - (time.time() - t)))
