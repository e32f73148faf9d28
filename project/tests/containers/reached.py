"""Runs in a container ``web``: checks that nginx forwards requests to this container within 15 s."""

import time
import urllib.request
from pathlib import Path

ESTABLISHED = "01"
OWN_PORT = f"{8004:04X}"
LOOPBACK = "0100007F"

deadline = time.monotonic() + 15
while True:
    for _ in range(10):
        urllib.request.urlopen("http://nginx:8080/ping", timeout=10).read()
    connections = [line.split()[1:4] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    if any(
        own.endswith(f":{OWN_PORT}") and state == ESTABLISHED and not other.startswith(LOOPBACK)
        for own, other, state in connections
    ):
        break
    assert time.monotonic() < deadline, "nginx passes nothing on to this container"
    time.sleep(0.5)
print("nginx passes requests on to it")
