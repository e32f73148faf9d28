"""The socket on which the service listens."""

import socket


def listen(host: str, port: int) -> socket.socket:
    """Listen on an address; ``::`` includes all IPv4 addresses where the system can. Raises OSError."""
    if host == "::" and socket.has_dualstack_ipv6():
        return socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
