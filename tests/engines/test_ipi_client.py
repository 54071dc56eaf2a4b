"""The socket side of our i-PI driver, against a server of ours that speaks i-PI's language."""

import importlib.util
import os
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from mace_smile.errors import UserError

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        importlib.util.find_spec("ipi") is None, reason="the package ipi is not installed"
    ),
]

N_ATOMS = 2


def harmonic(cells, positions):
    """Answers that tell which structure they belong to."""
    return [
        (0.5 * float((place**2).sum()), -place, cell, f'{{"trace": {np.trace(cell)}}}')
        for cell, place in zip(cells, positions, strict=True)
    ]


def header(text: str) -> bytes:
    return text.ljust(12).encode()


def ask(connection: socket.socket, cells: np.ndarray, positions: np.ndarray) -> list[tuple]:
    """One exchange as i-PI does it: INIT, POSDATA and GETFORCE at once, and what comes back."""
    from metatensor_models.ipi_client import receive, receive_numbers

    n_structures = len(cells)
    connection.sendall(header("STATUS"))
    if receive(connection, 12).strip() == b"NEEDINIT":
        parameters = b"" if n_structures == 1 else b" x : 1 , batch_size:%d" % n_structures
        connection.sendall(header("INIT") + np.int32(0) + np.int32(len(parameters)) + parameters)
    connection.sendall(header("STATUS"))
    assert receive(connection, 12).strip() == b"READY"
    blocks = np.stack([cells, np.linalg.inv(cells)], axis=1).tobytes()
    count = np.int32(N_ATOMS).tobytes()
    start = blocks + count if n_structures == 1 else count + blocks
    connection.sendall(header("POSDATA") + start + positions.tobytes() + header("GETFORCE"))
    assert receive(connection, 12).strip() == b"FORCEREADY"
    energies = receive_numbers(connection, np.float64, n_structures)
    assert receive_numbers(connection, np.int32, 1)[0] == N_ATOMS
    forces = receive_numbers(connection, np.float64, positions.size).reshape(positions.shape)
    virials = receive_numbers(connection, np.float64, cells.size).reshape(cells.shape)
    extras = []
    for _ in range(n_structures):
        (length,) = receive_numbers(connection, np.int32, 1)
        extras.append(receive(connection, length).decode())
    return list(zip(energies, forces, virials, extras, strict=True))


@pytest.mark.parametrize("n_structures", [1, 3])
def test_each_structure_gets_its_own_answer(n_structures):
    from metatensor_models.ipi_client import serve

    ours, theirs = socket.socketpair()
    rng = np.random.default_rng(0)
    with ours, theirs:
        thread = threading.Thread(target=serve, args=(theirs, harmonic))
        thread.start()
        for _ in range(2):
            cells = np.eye(3) * 5 + rng.normal(size=(n_structures, 3, 3))
            positions = rng.normal(size=(n_structures, N_ATOMS, 3))
            found = ask(ours, cells, positions)
            expected = harmonic(cells, positions)
            for one, other in zip(found, expected, strict=True):
                assert one[0] == other[0]
                np.testing.assert_array_equal(one[1], other[1])
                np.testing.assert_array_equal(one[2], other[2])
                assert one[3] == other[3]
        ours.sendall(header("EXIT"))
        thread.join(timeout=10)
        assert not thread.is_alive()


@pytest.fixture
def address():
    """Name of a socket that is nobody else's; its file is gone in the end."""
    name = f"smile-test-{os.getpid()}-{np.random.default_rng().integers(10**9)}"
    yield name
    Path(f"/tmp/ipi_{name}").unlink(missing_ok=True)


def listen(address: str) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(f"/tmp/ipi_{address}")
    server.listen()
    server.settimeout(20)
    return server


def test_driver_waits_for_an_ipi_that_was_killed_and_serves_the_next(address, capfd):
    from metatensor_models.ipi_client import Client

    client = threading.Thread(target=Client(address).run, args=(harmonic, 20.0))
    client.start()
    cells, positions = np.eye(3)[None], np.ones((1, N_ATOMS, 3))
    for is_last in (False, True):
        with listen(address) as server:
            connection, _ = server.accept()
            with connection:
                assert ask(connection, cells, positions)[0][0] == 3.0
                if is_last:
                    connection.sendall(header("EXIT"))
                else:
                    Path(f"/tmp/ipi_{address}").unlink()
    client.join(timeout=20)
    assert not client.is_alive()
    assert "has gone without a goodbye; waiting 20 s" in capfd.readouterr().out


def test_what_is_missing_is_said(address):
    from metatensor_models.ipi_client import Client

    with pytest.raises(UserError, match="i-PI has not listened at /tmp/ipi_smile-test"):
        Client(address).run(harmonic, wait=0.0)
    listen(address).close()  # a file is left, as by an i-PI that was killed
    with pytest.raises(UserError, match="remove it, start i-PI anew"):
        Client(address).run(harmonic, wait=0.0)
    with pytest.raises(UserError, match="cannot connect to i-PI at no.such.host.invalid:31415"):
        Client("no.such.host.invalid", 31415).run(harmonic, wait=0.0)


def test_another_language_is_refused():
    from metatensor_models.ipi_client import serve

    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"GET / HTTP/1")
        with pytest.raises(UserError, match="i-PI has sent 'GET / HTTP/1'"):
            serve(theirs, harmonic)
