"""desk.py PORT: answers each connection with the machine it runs on, its fencing token, and what the manager says of its
containers; the manager is asked by CORBA each time. With FENCING_TOKEN in its environment, as woodward gives it."""
import json
import os
import socketserver
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "mini-acs"))
os.environ.setdefault("ACS_INSTANCE", "2")
os.environ.setdefault("ACS_HOST", "127.0.0.1")
import miniacs  # noqa: E402

WHO = "%s token %s" % (os.uname().nodename, os.environ.get("FENCING_TOKEN", "-"))


class Desk(socketserver.BaseRequestHandler):
    def handle(self):
        try:
            containers = json.loads(miniacs.manager_ref().call("containers", timeout=2).string())
            said = "%d containers logged in" % len(containers)
        except (OSError, miniacs.CorbaError) as error:
            said = "the manager does not answer: %s" % error
        self.request.sendall(("%s: %s\n" % (WHO, said)).encode())


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


Server(("0.0.0.0", int(sys.argv[1])), Desk).serve_forever()
