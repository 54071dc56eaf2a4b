"""The socket side of an i-PI driver: it answers i-PI until i-PI says goodbye or has gone.

i-PI asks with headers of 12 letters: ``STATUS``, ``INIT``, ``POSDATA``, ``GETFORCE``, ``EXIT``.
Several structures (beads, replicas) come in one message when the input has ``<batch_size>``.
Numbers are in atomic units. The driver that comes with i-PI is a script, which cannot be imported,
and which spins for ever when i-PI is killed while it waits.
"""

import socket
import time
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from ipi.utils.messages import verbosity, warning

from mace_smile.errors import UserError

HEADER_LENGTH = 12
SOCKET_PREFIX = "/tmp/ipi_"
#: Seconds between two attempts to connect.
RETRY_INTERVAL = 0.2

#: Energy, forces ``(n_atoms, 3)``, virial ``(3, 3)`` and extras as text, in atomic units.
Answer: TypeAlias = tuple[float, np.ndarray, np.ndarray, str]
#: From cells (vectors in columns) and positions ``(n_atoms, 3)``, in bohr, to answers.
Evaluate: TypeAlias = Callable[[list[np.ndarray], list[np.ndarray]], list[Answer]]


class ServerGone(ConnectionError):
    """The connection ended without a goodbye: i-PI was killed, or its machine is lost."""


class Client:
    """A connection to one i-PI.

    :param address: name of a UNIX socket (of ``<address>`` in i-PI's input), or a host.
    :param port: of a host; None is a UNIX socket.
    """

    def __init__(self, address: str, port: int | None = None) -> None:
        self.address = address
        self.port = port
        self.place = f"{SOCKET_PREFIX}{address}" if port is None else f"{address}:{port}"

    def run(self, evaluate: Evaluate, wait: float) -> None:
        """Serve i-PI until it says goodbye; wait for it when it has gone.

        :param evaluate: computes the answers.
        :param wait: seconds to wait for i-PI, at the start and each time it has gone.
        :raises UserError: when i-PI is not there for so long.
        """
        while True:
            connection = self._connect(wait)
            with connection:
                try:
                    serve(connection, evaluate)
                    return
                except (ServerGone, BrokenPipeError, ConnectionResetError):
                    warning(
                        f"i-PI at {self.place} has gone without a goodbye; waiting {wait:g} s for "
                        "it to come back",
                        verbosity.low,
                    )

    def _connect(self, wait: float) -> socket.socket:
        """A connection, made as soon as i-PI listens."""
        end = time.monotonic() + wait
        while True:
            try:
                return self._connect_once()
            except (FileNotFoundError, ConnectionRefusedError) as error:
                if time.monotonic() >= end:
                    raise UserError(self._reason(error, wait)) from error
                time.sleep(RETRY_INTERVAL)
            except OSError as error:
                raise UserError(f"cannot connect to i-PI at {self.place}: {error}") from error

    def _connect_once(self) -> socket.socket:
        if self.port is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connection.connect(self.place if self.port is None else (self.address, self.port))
        except OSError:
            connection.close()
            raise
        return connection

    def _reason(self, error: OSError, wait: float) -> str:
        """Why there is no connection, and what to do."""
        if isinstance(error, ConnectionRefusedError) and self.port is None:
            return (
                f"nobody listens at {self.place}: the file is left from an i-PI that was killed; "
                f"remove it, start i-PI anew (from RESTART or a checkpoint) within {wait:g} s, or "
                "give a longer --wait"
            )
        return (
            f"i-PI has not listened at {self.place} for {wait:g} s; start it, name the address of "
            "its input (and --port where its ffsocket has mode='inet'), or give a longer --wait"
        )


def serve(connection: socket.socket, evaluate: Evaluate) -> None:
    """Answer i-PI until it says goodbye.

    :param connection: connected socket.
    :param evaluate: computes the answers.
    :raises ServerGone: when the connection ends otherwise.
    :raises UserError: when i-PI speaks another language.
    """
    batch_size: int | None = None  # known after INIT
    structures: tuple[list[np.ndarray], list[np.ndarray]] | None = None
    answers: list[Answer] | None = None
    while True:
        header = receive(connection, HEADER_LENGTH).decode(errors="replace").strip()
        # Only now: i-PI asks for forces in the message of the structure. A driver that is killed
        # with a part of it unread resets the connection, and i-PI hangs instead of waiting.
        if structures is not None:
            answers, structures = evaluate(*structures), None
        if header == "STATUS":
            status = "READY" if answers is None else "HAVEDATA"
            send_header(connection, "NEEDINIT" if batch_size is None else status)
        elif header == "INIT":
            receive_numbers(connection, np.int32, 1)  # number of the replica
            (length,) = receive_numbers(connection, np.int32, 1)
            batch_size = announced_batch_size(receive(connection, length).decode(errors="replace"))
        elif header == "POSDATA":
            structures = receive_structures(connection, batch_size or 1)
        elif header == "GETFORCE" and answers is not None:
            connection.sendall(encode(answers))
            answers = None
        elif header == "EXIT":
            return
        else:
            raise UserError(
                f"i-PI has sent '{header}' where no driver expects it; use a release of i-PI that "
                "this package allows (3.3), and mode='unix' or 'inet' of its ffsocket"
            )


def announced_batch_size(text: str) -> int:
    """Number of structures in a message, which i-PI tells among the parameters of ``INIT``."""
    for item in text.split(","):
        key, _, value = item.partition(":")
        if key.strip() == "batch_size":
            return int(value)
    return 1


def receive_structures(
    connection: socket.socket, batch_size: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Cells with vectors in columns ``(3, 3)``, and positions ``(n_atoms, 3)``, in bohr."""
    if batch_size == 1:
        cells = receive_numbers(connection, np.float64, 18)
        (n_atoms,) = receive_numbers(connection, np.int32, 1)
    else:
        (n_atoms,) = receive_numbers(connection, np.int32, 1)
        cells = receive_numbers(connection, np.float64, 18 * batch_size)
    positions = receive_numbers(connection, np.float64, 3 * int(n_atoms) * batch_size)
    # Each cell is followed by its inverse.
    return (
        list(cells.reshape(batch_size, 2, 3, 3)[:, 0]),
        list(positions.reshape(batch_size, -1, 3)),
    )


def encode(answers: list[Answer]) -> bytes:
    """The whole message that answers ``GETFORCE``."""
    energies, forces, virials, extras = zip(*answers, strict=True)
    parts = [
        "FORCEREADY".ljust(HEADER_LENGTH).encode(),
        np.array(energies, np.float64).tobytes(),
        np.int32(len(forces[0])).tobytes(),
        np.array(forces, np.float64).tobytes(),
        np.array(virials, np.float64).tobytes(),
    ]
    for text in extras:
        data = text.encode()
        parts += [np.int32(len(data)).tobytes(), data]
    return b"".join(parts)


def send_header(connection: socket.socket, header: str) -> None:
    """Send one header."""
    connection.sendall(header.ljust(HEADER_LENGTH).encode())


def receive(connection: socket.socket, length: int) -> bytes:
    """Exactly so many bytes.

    :raises ServerGone: when the connection ends before.
    """
    data = bytearray(length)
    view = memoryview(data)
    while len(view) > 0:
        count = connection.recv_into(view)
        if count == 0:
            raise ServerGone("the connection to i-PI has ended")
        view = view[count:]
    return bytes(data)


def receive_numbers(connection: socket.socket, dtype: type, count: int) -> np.ndarray:
    """So many numbers of one type."""
    size = np.dtype(dtype).itemsize
    return np.frombuffer(receive(connection, size * int(count)), dtype=dtype)
