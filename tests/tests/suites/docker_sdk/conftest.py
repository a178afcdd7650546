"""What the checks share: a client, and a container, a network and a volume that are gone after each of them."""

import secrets
import time

import docker
import pytest

IMAGE = "busybox"


@pytest.fixture(scope="session")
def client():
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture
def name():
    return f"check-{secrets.token_hex(4)}"


@pytest.fixture(autouse=True)
def nothing_left(client):
    yield
    for container in client.containers.list(all=True):
        container.remove(force=True, v=True)
    for network in client.networks.list():
        if network.name not in ("bridge", "host", "none"):
            network.remove()
    for volume in client.volumes.list():
        volume.remove(force=True)


@pytest.fixture
def sleeper(client, name):
    """A container that runs."""
    return client.containers.run(IMAGE, "sleep 1000", name=name, detach=True, stop_signal="KILL")


def eventually(holds, what):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, f"does not come about: {what}"
        time.sleep(0.05)
