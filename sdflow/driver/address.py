"""Whether anybody listens where a cluster is said to be."""

from __future__ import annotations

import socket

from sdflow.errors import ClusterError


def check_listens(address: str) -> None:
    """Refuse at once an address where nobody answers: Ray itself tries for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise ClusterError(
            f"--address {address}: nobody answers there ({error}); is Ray running on that machine?",
            item="--address",
        ) from error
