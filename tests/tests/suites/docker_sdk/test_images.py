"""Images: pulled, listed, tagged, saved, loaded, pushed, removed."""

import io
import tarfile

import docker
import pytest
from conftest import IMAGE

REGISTRY = "localhost:5000"


@pytest.fixture
def tagged(client, name):
    """A second name for the image."""
    client.images.get(IMAGE).tag(name, "1")
    yield f"{name}:1"
    for image in client.images.list(name):
        for tag in image.tags:
            if tag.startswith(name):
                client.images.remove(tag, force=True)


def test_get_and_list(client):
    image = client.images.get(IMAGE)
    assert f"{IMAGE}:latest" in image.tags
    assert image.id.startswith("sha256:") and image.short_id == image.id[:19]
    assert client.images.get(image.id).id == image.id
    assert image.id in [listed.id for listed in client.images.list()]
    assert [listed.id for listed in client.images.list(IMAGE)] == [image.id]
    for filters, expected in [
        ({"reference": "busy*"}, [image.id]),
        ({"dangling": True}, []),
        ({"label": "nosuch"}, []),
        ({"reference": "nosuch"}, []),
    ]:
        assert [listed.id for listed in client.images.list(filters=filters)] == expected, filters
    with pytest.raises(docker.errors.ImageNotFound) as raised:
        client.images.get("nosuch")
    assert raised.value.explanation == "No such image: nosuch:latest"


def test_tag_and_remove(client, tagged):
    image = client.images.get(tagged)
    assert tagged in image.tags
    assert image.tag(tagged.split(":")[0], "2")
    image.reload()
    assert len([tag for tag in image.tags if tag.startswith(tagged[:-1])]) == 2
    client.images.remove(tagged)
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get(tagged)
    with pytest.raises(docker.errors.APIError) as raised:
        image.tag("BAD")
    assert raised.value.status_code == 400


def test_remove_is_refused_while_it_is_used(client):
    container = client.containers.run(IMAGE, "sleep 1000", detach=True)
    with pytest.raises(docker.errors.APIError) as raised:
        client.images.remove(client.images.get(IMAGE).id)
    assert raised.value.status_code == 409
    assert f"image is being used by running container {container.short_id}" in raised.value.explanation
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.remove("nosuch")


def test_pull_by_tag_and_digest(client):
    image = client.images.pull("hello-world", tag="linux")
    assert "hello-world:linux" in image.tags
    digest = image.attrs["RepoDigests"][0]
    assert client.images.pull(digest).id == image.id
    assert client.containers.run(image, remove=True).splitlines()[1] == b"Hello from Docker!"
    client.images.remove(image.id, force=True)


def test_pull_of_all_tags(client):
    images = client.images.pull("hello-world", all_tags=True)
    tags = {tag for image in images for tag in image.tags}
    assert {"hello-world:linux", "hello-world:latest"} <= tags
    client.images.remove(images[0].id, force=True)


def test_pull_tells_its_progress(client):
    told = list(client.api.pull(f"{REGISTRY}/alpine", stream=True, decode=True))
    statuses = [line["status"] for line in told]
    assert statuses[0] in ("Pulling from alpine", "Using default tag: latest")
    assert statuses[-1] == f"Status: Downloaded newer image for {REGISTRY}/alpine:latest"
    assert any(status.startswith("Digest: sha256:") for status in statuses)
    client.images.remove(f"{REGISTRY}/alpine")


def test_pull_of_what_is_not_there(client):
    with pytest.raises(docker.errors.NotFound):
        client.images.pull(f"{REGISTRY}/nosuch")
    with pytest.raises(docker.errors.APIError) as raised:
        client.images.pull("BAD")
    assert raised.value.status_code == 400


def test_registry_data(client):
    told = client.images.get_registry_data(f"{REGISTRY}/alpine")
    assert told.id.startswith("sha256:")
    assert told.has_platform("linux/amd64") and not told.has_platform("linux/s390x")
    pulled = told.pull()
    client.images.remove(pulled.id, force=True)


def test_push_to_a_registry(client, name):
    target = f"{REGISTRY}/{name}"
    client.images.get(IMAGE).tag(target, "1")
    told = list(client.images.push(target, tag="1", stream=True, decode=True))
    assert not [line for line in told if "error" in line], told
    assert any("1: digest: sha256:" in line.get("status", "") for line in told)
    client.images.remove(f"{target}:1")
    assert client.images.pull(target, tag="1").id == client.images.get(IMAGE).id
    client.images.remove(f"{target}:1")


def test_push_of_what_is_not_there(client):
    told = client.images.push(f"{REGISTRY}/nosuch-image")
    assert f"An image does not exist locally with the tag: {REGISTRY}/nosuch-image" in told


def test_save_and_load(client, tagged):
    image = client.images.get(tagged)
    packed = b"".join(image.save(named=tagged))
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert {"manifest.json", "repositories", "oci-layout"} <= set(tar.getnames())
    client.images.remove(tagged)
    assert [loaded.id for loaded in client.images.load(packed)] == [image.id]
    assert tagged in client.images.get(image.id).tags


def test_load_of_what_is_none(client):
    with pytest.raises(docker.errors.DockerException):
        client.images.load(b"no archive at all")


def test_import_of_a_file_system(client, name, sleeper):
    packed = b"".join(sleeper.export())
    client.api.import_image_from_data(packed, repository=name, tag="imported", changes=["ENV IMPORTED=yes"])
    image = client.images.get(f"{name}:imported")
    assert "IMPORTED=yes" in image.attrs["Config"]["Env"]
    assert client.containers.run(image, ["/bin/busybox", "echo", "whole"]) == b"whole\n"
    for container in client.containers.list(all=True):
        container.remove(force=True)
    client.images.remove(image.id, force=True)


def test_history(client):
    told = client.images.get(IMAGE).history()
    assert len(told) == 1
    assert told[0]["Id"] == client.images.get(IMAGE).id
    assert told[0]["CreatedBy"] == "the tests" and told[0]["Tags"] == [f"{IMAGE}:latest"]


def test_prune(client, sleeper):
    sleeper.exec_run(["sh", "-c", "echo more > /more"])
    dangling = client.api.commit(sleeper.id)["Id"]
    pruned = client.images.prune(filters={"dangling": True})
    assert {"Deleted": dangling} in pruned["ImagesDeleted"]
    assert pruned["SpaceReclaimed"] > 0
    assert client.images.get(IMAGE)
