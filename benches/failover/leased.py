"""a minimal fail-over daemon over an etcd lease, as a yardstick.
usage: leased.py GROUP TTL VIP PORT

One key per group, created in a transaction and bound to a lease. The holder's deadline is counted
from the moment a keep-alive was SENT. The deadline passes -> SIGKILL and drop the address.
The create revision of the key is the fencing token of the service."""
import base64
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time

group, ttl, vip, port = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
host = os.uname().nodename
peers = [l.split()[1] for l in open("/run/bed/hosts") if l.split()[2] == "member"]
mine = [l.split()[1] for l in open("/run/bed/hosts") if l.split()[0] == host]
ends = mine + [p for p in peers if p not in mine]
KEY = ("/groups/" + group).encode()
b64 = lambda b: base64.b64encode(b if isinstance(b, bytes) else str(b).encode()).decode()
HERE = os.path.dirname(os.path.realpath(__file__))
PROBE = os.path.join(HERE, "..", "..", "tests", "cluster-bed", "probe")


def say(*a):
    print("%.3f" % time.time(), *a, flush=True)


def call(path, body, timeout=0.5, ep=None):
    last = None
    for e in ([ep] if ep else ends):
        try:
            c = http.client.HTTPConnection(e, 2379, timeout=timeout)
            c.request("POST", path, json.dumps(body))
            r = c.getresponse()
            d = json.loads(r.read())
            c.close()
            if r.status == 200:
                return d
            last = d
        except (OSError, ValueError, http.client.HTTPException) as x:
            last = x
    raise OSError("etcd: %s" % last)


def watch_gone(rev, stop):
    """return when the key is deleted; a streaming watch on the local member"""
    c = http.client.HTTPConnection(ends[0], 2379, timeout=30)
    try:
        c.request("POST", "/v3/watch", json.dumps({"create_request": {
            "key": b64(KEY), "start_revision": str(rev), "filters": ["NOPUT"]}}))
        r = c.getresponse()
        while not stop.is_set():
            line = r.readline()
            if not line:
                return
            if json.loads(line).get("result", {}).get("events"):
                return
    except (OSError, ValueError, http.client.HTTPException):
        time.sleep(0.1)
    finally:
        c.close()


def start(token):
    subprocess.run(["ip", "addr", "add", vip + "/24", "dev", "eth0"], check=False)
    env = dict(os.environ, FENCING_TOKEN=str(token), PROBE_PORT=port)
    p = subprocess.Popen([sys.executable, PROBE, group, str(token), os.environ.get("PROBE_STEP", "0.01")], env=env)
    subprocess.Popen(["arping", "-q", "-U", "-c", "2", "-I", "eth0", vip], stderr=subprocess.DEVNULL)
    say("active", token)
    return p


def stop(p):
    p.send_signal(signal.SIGKILL)
    subprocess.run(["ip", "addr", "del", vip + "/24", "dev", "eth0"], check=False)
    p.wait()
    say("stopped")


while True:
    try:
        lease = call("/v3/lease/grant", {"TTL": str(ttl)})
        sent = time.monotonic()
        granted = int(lease["TTL"])
        r = call("/v3/kv/txn", {
            "compare": [{"key": b64(KEY), "target": "CREATE", "create_revision": "0"}],
            "success": [{"request_put": {"key": b64(KEY), "value": b64(host), "lease": lease["ID"]}}],
            "failure": [{"request_range": {"key": b64(KEY)}}]}, timeout=1)
    except OSError as e:
        say(e)
        time.sleep(0.1)
        continue
    if not r.get("succeeded"):
        try:
            call("/v3/lease/revoke", {"ID": lease["ID"]})
        except OSError:
            pass
        watch_gone(int(r["header"]["revision"]) + 1, threading.Event())
        continue
    token = int(r["header"]["revision"])
    say("won", token, "granted ttl", granted, "asked", ttl)
    # never act on a lease that may already be over
    margin = 0.2 * granted
    deadline = [sent + granted - margin]
    proc = [None]
    done = threading.Event()

    def guard():
        """its own thread: the kill does not wait for any network call"""
        while not done.is_set():
            left = deadline[0] - time.monotonic()
            if left <= 0:
                if proc[0]:
                    proc[0].send_signal(signal.SIGKILL)
                done.set()
                return
            time.sleep(min(left, 0.02))

    if time.monotonic() < deadline[0]:
        proc[0] = start(token)
        threading.Thread(target=guard, daemon=True).start()
        while not done.is_set() and proc[0].poll() is None:
            t = time.monotonic()
            try:
                k = call("/v3/lease/keepalive", {"ID": lease["ID"]}, timeout=max(0.2, granted / 6))
                left = int(k["result"].get("TTL", 0))
                if left <= 0:
                    break
                deadline[0] = t + granted - margin
            except (OSError, KeyError) as e:
                say("keepalive:", e)
                continue
            time.sleep(granted / 6)
        done.set()
        stop(proc[0])
