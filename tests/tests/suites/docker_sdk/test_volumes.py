"""Volumes: made, used, removed."""

import docker
import pytest
from conftest import IMAGE


def test_create_tells_what_was_asked(client, name):
    volume = client.volumes.create(name, driver="local", labels={"a": "b"})
    assert (volume.name, volume.id, volume.attrs["Driver"]) == (name, name, "local")
    assert volume.attrs["Labels"] == {"a": "b"}
    assert volume.attrs["Mountpoint"].endswith(f"/{name}/_data")
    assert client.volumes.create(name).attrs["CreatedAt"] == volume.attrs["CreatedAt"]


def test_create_without_a_name(client):
    assert len(client.volumes.create().name) == 64


def test_create_with_options(client, name):
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
    volume = client.volumes.create(name, driver_opts=options)
    volume.reload()
    assert volume.attrs["Options"] == options
    mounts = client.containers.run(IMAGE, "grep /data /proc/mounts", volumes=[f"{name}:/data"])
    assert b"tmpfs" in mounts and b"size=1024k" in mounts


def test_what_cannot_be_made_is_refused(client):
    for arguments, status in [
        ({"name": "no/name"}, 400),
        ({"name": "x", "driver": "nosuch"}, 404),
        ({"name": "x", "driver_opts": {"nosuch": "1"}}, 400),
    ]:
        with pytest.raises(docker.errors.APIError) as raised:
            client.volumes.create(**arguments)
        assert raised.value.status_code == status, (arguments, raised.value)


def test_get_and_list(client, name):
    volume = client.volumes.create(name, labels={"role": "x"})
    assert client.volumes.get(name).attrs == volume.attrs
    with pytest.raises(docker.errors.NotFound) as raised:
        client.volumes.get("nosuch")
    assert raised.value.explanation == "get nosuch: no such volume"

    def names(**filters):
        return [volume.name for volume in client.volumes.list(filters=filters)]

    for filters, expected in [
        ({}, [name]),
        ({"name": name}, [name]),
        ({"name": "nosuch"}, []),
        ({"label": "role=x"}, [name]),
        ({"label": "role=y"}, []),
        ({"driver": "local"}, [name]),
        ({"dangling": True}, [name]),
        ({"dangling": False}, []),
    ]:
        assert names(**filters) == expected, filters


def test_contents_are_shared_and_kept(client, name):
    client.containers.run(IMAGE, "sh -c 'echo kept > /data/file'", volumes={name: {"bind": "/data", "mode": "rw"}})
    read = client.containers.run(IMAGE, "cat /data/file", volumes={name: {"bind": "/data", "mode": "ro"}})
    assert read == b"kept\n"
    mount = docker.types.Mount("/data", name, type="volume", read_only=True)
    with pytest.raises(docker.errors.ContainerError):
        client.containers.run(IMAGE, "touch /data/file", mounts=[mount])


def test_mounts_of_other_kinds(client, tmp_path):
    (tmp_path / "file").write_text("of the host\n")
    bind = docker.types.Mount("/bound", str(tmp_path), type="bind")
    tmpfs = docker.types.Mount("/scratch", None, type="tmpfs", tmpfs_size="1m")
    container = client.containers.run(IMAGE, "sleep 1000", detach=True, mounts=[bind, tmpfs])
    assert container.exec_run("cat /bound/file").output == b"of the host\n"
    assert b"size=1024k" in container.exec_run("grep /scratch /proc/mounts").output
    container.reload()
    kinds = {mount["Destination"]: mount["Type"] for mount in container.attrs["Mounts"]}
    assert kinds["/bound"] == "bind"


def test_volumes_of_another_container(client, name):
    client.containers.run(IMAGE, "sh -c 'echo shared > /data/file'", name=name, volumes=[f"{name}:/data"])
    assert client.containers.run(IMAGE, "cat /data/file", volumes_from=[name]) == b"shared\n"


def test_remove_wants_that_nobody_uses_it(client, name):
    volume = client.volumes.create(name)
    container = client.containers.create(IMAGE, "true", volumes=[f"{name}:/data"])
    with pytest.raises(docker.errors.APIError) as raised:
        volume.remove()
    assert raised.value.status_code == 409
    assert raised.value.explanation == f"remove {name}: volume is in use - [{container.id}]"
    container.remove()
    volume.remove()
    with pytest.raises(docker.errors.NotFound):
        volume.remove()


def test_prune(client, name):
    client.volumes.create(name, labels={"prune": "yes"})
    client.volumes.create()
    pruned = client.volumes.prune()
    assert len(pruned["VolumesDeleted"]) == 1 and name not in pruned["VolumesDeleted"]
    pruned = client.volumes.prune(filters={"all": True, "label": "prune=yes"})
    assert pruned["VolumesDeleted"] == [name]
    assert pruned["SpaceReclaimed"] == 0
