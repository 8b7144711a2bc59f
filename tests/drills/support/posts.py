"""A client by polling that posts bodies of as many packets as there may be in one, back to back: posts.py PORT. It says "ready";
at "flood SECONDS" on standard input it joins and posts for so long, and says how many packets a second."""

import http.client
import re
import sys
import time

PACKETS = 10_000
BODY = b"\x1e".join([b'42["x","%s"]' % (b"x" * 80)] * PACKETS)
PATH = "/socket.io/?EIO=4&transport=polling"


class Session:
    """A session that has joined `/`, and posts."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port)
        self.path = PATH
        sid = re.search(rb'"sid":"([^"]+)"', self.ask("GET")).group(1)
        self.path += "&sid=" + sid.decode()
        self.ask("POST", b"40")
        self.ask("GET")

    def ask(self, method, body=None):
        """What is answered, which must be something good."""
        self.connection.request(method, self.path, body)
        response = self.connection.getresponse()
        answer = response.read()
        assert response.status == 200, (response.status, answer)
        return answer


def main():
    port = int(sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        seconds = float(line.split()[1])
        # One that said nothing since the last time would be gone.
        session = Session(port)
        begun, sent = time.monotonic(), 0
        while time.monotonic() - begun < seconds:
            session.ask("POST", BODY)
            sent += PACKETS
        print(int(sent / (time.monotonic() - begun)), flush=True)


main()
