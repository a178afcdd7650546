"""Networks: made, joined, left, removed."""

import docker
import pytest
from conftest import IMAGE


def test_create_tells_what_was_asked(client, name):
    pool = docker.types.IPAMPool(subnet="10.77.0.0/24", gateway="10.77.0.254", iprange="10.77.0.128/25")
    network = client.networks.create(
        name,
        driver="bridge",
        internal=True,
        labels={"a": "b"},
        options={"com.docker.network.driver.mtu": "1400"},
        ipam=docker.types.IPAMConfig(pool_configs=[pool]),
    )
    network.reload()
    assert (network.name, network.attrs["Driver"], network.attrs["Internal"]) == (name, "bridge", True)
    assert network.attrs["IPAM"]["Config"] == [
        {"Subnet": "10.77.0.0/24", "IPRange": "10.77.0.128/25", "Gateway": "10.77.0.254"}
    ]
    assert network.attrs["Labels"] == {"a": "b"}
    assert network.attrs["Options"]["com.docker.network.driver.mtu"] == "1400"


def test_a_name_is_taken_once(client, name):
    client.networks.create(name)
    with pytest.raises(docker.errors.APIError) as raised:
        client.networks.create(name)
    assert raised.value.status_code == 409
    assert raised.value.explanation == f"network with name {name} already exists"


def test_a_subnet_is_taken_once(client, name):
    pool = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet="10.78.0.0/24")])
    client.networks.create(name, ipam=pool)
    with pytest.raises(docker.errors.APIError) as raised:
        client.networks.create(f"{name}-2", ipam=pool)
    assert "Pool overlaps with other one on this address space" in raised.value.explanation


def test_get_and_list(client, name):
    network = client.networks.create(name, labels={"role": "x"})
    assert client.networks.get(network.id).name == name
    assert client.networks.get(name).id == network.id
    with pytest.raises(docker.errors.NotFound) as raised:
        client.networks.get("nosuch")
    assert raised.value.explanation == "network nosuch not found"

    def names(**options):
        return sorted(network.name for network in client.networks.list(**options))

    assert names() == sorted(["bridge", "host", "none", name])
    assert names(names=[name]) == [name]
    assert names(ids=[network.id]) == [name]
    for filters, expected in [
        ({"label": "role=x"}, [name]),
        ({"type": "custom"}, [name]),
        ({"type": "builtin"}, ["bridge", "host", "none"]),
        ({"driver": "host"}, ["host"]),
        ({"dangling": True}, [name]),
        ({"scope": "swarm"}, []),
    ]:
        assert names(filters=filters) == expected, filters
    assert [network.containers for network in client.networks.list(names=[name], greedy=True)] == [[]]


def test_connect_and_disconnect(client, name, sleeper):
    pool = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet="10.79.0.0/24")])
    network = client.networks.create(name, ipam=pool)
    network.connect(sleeper, aliases=["other"], ipv4_address="10.79.0.77")
    sleeper.reload()
    endpoint = sleeper.attrs["NetworkSettings"]["Networks"][name]
    assert endpoint["IPAddress"] == "10.79.0.77"
    assert "other" in endpoint["Aliases"]
    network.reload()
    assert [container.id for container in network.containers] == [sleeper.id]
    asked = client.containers.run(IMAGE, "ping -c 1 -w 5 other", network=name)
    assert b"10.79.0.77" in asked
    with pytest.raises(docker.errors.APIError):
        network.remove()
    network.disconnect(sleeper, force=True)
    network.reload()
    assert network.containers == []


def test_connect_twice_is_refused(client, name, sleeper):
    network = client.networks.create(name)
    network.connect(sleeper)
    with pytest.raises(docker.errors.APIError) as raised:
        network.connect(sleeper)
    assert raised.value.status_code == 403
    assert "already exists in network" in raised.value.explanation
    network.disconnect(sleeper)
    with pytest.raises(docker.errors.APIError) as raised:
        network.disconnect(sleeper)
    assert "is not connected to network" in raised.value.explanation


def test_a_container_is_made_on_a_network(client, name):
    client.networks.create(name)
    settings = client.api.create_endpoint_config(aliases=["known"])
    container = client.containers.run(
        IMAGE, "sleep 1000", detach=True, network=name, networking_config={name: settings}
    )
    container.reload()
    networks = container.attrs["NetworkSettings"]["Networks"]
    assert list(networks) == [name]
    assert "known" in networks[name]["Aliases"]
    assert networks[name]["IPAddress"]


def test_published_ports_are_reached(client):
    import http.client

    container = client.containers.run(
        IMAGE, ["sh", "-c", "echo served > index.html; httpd -f -p 80"], detach=True, working_dir="/tmp", ports={"80/tcp": ("127.0.0.1", None)}
    )
    container.reload()
    port = int(container.ports["80/tcp"][0]["HostPort"])
    for _ in range(50):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/index.html")
            break
        except OSError:
            container.exec_run("sleep 0.1")
    assert connection.getresponse().read() == b"served\n"


def test_remove(client, name):
    network = client.networks.create(name)
    network.remove()
    with pytest.raises(docker.errors.NotFound):
        network.reload()
    with pytest.raises(docker.errors.APIError) as raised:
        client.networks.get("host").remove()
    assert raised.value.status_code == 403


def test_prune(client, name, sleeper):
    client.networks.create(name, labels={"prune": "yes"})
    used = client.networks.create(f"{name}-used", labels={"prune": "yes"})
    used.connect(sleeper)
    assert not client.networks.prune(filters={"label": "prune=no"})["NetworksDeleted"]
    assert client.networks.prune(filters={"label": "prune=yes"})["NetworksDeleted"] == [name]
    used.disconnect(sleeper)
