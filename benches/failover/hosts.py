"""three hosts of the bed for a measurement: drive them, read the witness"""
import json
import os
import statistics
import subprocess
import time

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BED = os.path.join(ROOT, "tests", "cluster-bed", "bed")
PROBE = os.path.join(ROOT, "tests", "cluster-bed", "probe")
NAME = os.environ.setdefault("CLUSTER_BED", "bench%d" % os.getpid())
RUN = "/run/cluster-bed/" + NAME
MEMBERS = ("h1", "h2", "h3")


class Failed(Exception):
    pass


def bed(*args, check=True, **kw):
    p = subprocess.run([BED, *args], capture_output=True, text=True, **kw)
    if check and p.returncode:
        raise Failed("bed %s: %s%s" % (" ".join(args), p.stdout, p.stderr))
    return p.stdout


def sh(host, script, check=True, **kw):
    return bed("exec", host, "--", "sh", "-c", script, check=check, **kw)


def put(host, path, text):
    bed("exec", host, "--", "sh", "-c", 'mkdir -p "$(dirname "$1")" && cat > "$1"', "-", path, input=text)


def wait(condition, what, seconds=90, step=0.05):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(step)
    raise Failed("waited in vain for " + what)


# ---------------------------------------------------------------- hosts

def up(clients=1):
    bed("up", "--fresh", "--clients", str(clients), "--share", ROOT, "--share", HERE)


def down():
    bed("down", check=False)


def power(host):
    return json.load(open(RUN + "/state.json"))["hosts"][host]["power"]


def event_time(event, host, since):
    for line in reversed(open(RUN + "/events.jsonl").read().splitlines()):
        e = json.loads(line)
        if e["event"] == event and e.get("host") == host and e["t"] >= since:
            return e["t"]
    return since


# ---------------------------------------------------------------- etcd

def etcd(heartbeat=100, election=1000):
    bed("etcd", "start", "--heartbeat", str(heartbeat), "--election", str(election))


def etcd_states():
    rows = json.loads(bed("status", "--json"))["hosts"]
    return {r["host"]: r.get("etcd") for r in rows if r["host"] in MEMBERS}


def etcd_whole():
    wait(lambda: all(etcd_states().values()), "etcd on all hosts", step=0.3)


def lead(active, itself):
    """makes the active host etcd's leader, or sees to it that it is not"""
    def leader():
        return next((h for h, e in etcd_states().items() if e and e["is_leader"]), None)

    def moved():
        now = leader()
        if now is None:
            return False
        if (now == active) == itself:
            return True
        to = active if itself else next(h for h in MEMBERS if h != active)
        identity = "%x" % etcd_states()[to]["id"]
        sh(now, "ETCDCTL_API=3 etcdctl --endpoints=http://127.0.0.1:2379 move-leader " + identity, check=False)
        return False
    wait(moved, "etcd's leader to move", step=0.2)


def raft_index(host):
    out = sh(host, "ETCDCTL_API=3 etcdctl --endpoints=http://127.0.0.1:2379 endpoint status -w json")
    status = json.loads(out[out.index("["):])[0]["Status"]
    return status["raftIndex"], status["header"]["revision"]


# ---------------------------------------------------------------- witness

def tail(n=1 << 17):
    with open(RUN + "/witness.log", "rb") as f:
        f.seek(0, 2)
        f.seek(max(0, f.tell() - n))
        return f.read().decode(errors="replace").splitlines()[1:]


def active(group, within=0.4):
    """the host that wrote last, if it did so just now"""
    for line in reversed(tail()):
        w = line.split()
        if len(w) > 3 and w[1] == group:
            return w[2] if time.time() - float(w[0]) < within else None
    return None


def writes(group, after=0.0):
    """(time, host, token) of a group's writes"""
    found = []
    for line in open(RUN + "/witness.log"):
        w = line.split()
        if len(w) > 3 and w[1] == group and float(w[0]) > after:
            found.append((float(w[0]), w[2], int(w[3])))
    return found


def first(group, after, not_on):
    """when and where somebody else wrote first"""
    return next(((t, h) for t, h, _ in writes(group, after) if h != not_on), None)


def last(group, host):
    return max(t for t, h, _ in writes(group) if h == host)


def split(groups=None):
    """what no run may show: hosts at work at once, writes with an old token"""
    judged = json.loads(bed("verdict", "--json", check=False) or "[]")
    return sum(f["overlaps"] + f["stale"] + (0 if f["group"].endswith("/local") else f["waking"]) for f in judged)


# ---------------------------------------------------------------- a client of the address

def client(address, port):
    bed("spawn", "c1", "client", "--", "python3", os.path.join(HERE, "client.py"), address, str(port))


def answered(after, not_on):
    for line in bed("exec", "c1", "--", "cat", "/run/client.log", check=False).splitlines():
        w = line.split()
        if len(w) == 2 and float(w[0]) > after and w[1] not in ("-", not_on):
            return float(w[0])
    return None


# ---------------------------------------------------------------- figures

def seconds(values):
    values = sorted(values)
    return "%.2f s (%.2f to %.2f, n = %d)" % (statistics.median(values), values[0], values[-1], len(values))
