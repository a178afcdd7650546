"""The engine itself, and the errors of its clients."""

import docker
import pytest
from conftest import IMAGE


def test_ping(client):
    assert client.ping() is True


def test_version(client):
    told = client.version()
    assert told["Os"] == "linux" and told["Arch"] == "amd64"
    assert told["ApiVersion"] and told["MinAPIVersion"] and told["KernelVersion"]
    assert told["Components"][0]["Name"] == "Engine"


def test_versions_of_the_api_are_served(client):
    for version in ("1.24", "1.40", "1.50"):
        other = docker.from_env(version=version)
        assert other.api.version()["ApiVersion"]
        other.close()


def test_a_version_that_is_too_new_is_refused(client):
    other = docker.from_env(version="1.99")
    with pytest.raises(docker.errors.APIError) as raised:
        other.info()
    assert raised.value.status_code == 400
    assert "client version 1.99 is too new. Maximum supported API version is" in raised.value.explanation
    other.close()


def test_info_counts_containers(client, sleeper):
    sleeper.pause()
    told = client.info()
    assert (told["Containers"], told["ContainersRunning"], told["ContainersPaused"]) == (1, 0, 1)
    assert told["OSType"] == "linux" and told["NCPU"] > 0 and told["MemTotal"] > 0
    assert "local" in told["Plugins"]["Volume"] and "bridge" in told["Plugins"]["Network"]
    assert told["Swarm"]["LocalNodeState"] == "inactive"
    sleeper.unpause()


def test_df_lists_what_takes_space(client, name, sleeper):
    client.volumes.create(name)
    told = client.df()
    assert told["LayersSize"] > 0
    assert sleeper.id in [container["Id"] for container in told["Containers"]]
    assert name in [volume["Name"] for volume in told["Volumes"]]
    assert any(f"{IMAGE}:latest" in image["RepoTags"] for image in told["Images"])


def test_login_is_tried_at_the_registry(client):
    told = client.login(username="me", password="pass", registry="localhost:5000")
    assert told["Status"] == "Login Succeeded"
    with pytest.raises(docker.errors.APIError):
        client.login(username="me", password="pass", registry="localhost:1", reauth=True)


def test_what_is_not_there_is_told(client):
    for find in (client.containers.get, client.networks.get, client.volumes.get, client.images.get):
        with pytest.raises(docker.errors.NotFound) as raised:
            find("nosuch")
        assert raised.value.status_code == 404
        assert raised.value.is_client_error() and not raised.value.is_server_error()


def test_a_bad_request_is_told(client):
    with pytest.raises(docker.errors.APIError) as raised:
        client.containers.create(IMAGE, "true", name="a b")
    assert raised.value.status_code == 400
    assert "Invalid container name (a b)" in raised.value.explanation


def test_a_swarm_is_not_there(client):
    with pytest.raises(docker.errors.APIError) as raised:
        client.nodes.list()
    assert raised.value.status_code == 503
    assert "This node is not a swarm manager" in raised.value.explanation


def test_events_end_when_they_are_closed(client):
    events = client.events()
    events.close()
    assert client.ping()
