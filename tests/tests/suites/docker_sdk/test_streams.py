"""What flows in and out of containers: logs, attach, exec, archives."""

import io
import json
import tarfile
import threading
import time

import docker
import pytest
from conftest import IMAGE, eventually

TALK = ["sh", "-c", "echo out; sleep 0.2; echo err >&2"]


@pytest.fixture
def talker(client, name):
    container = client.containers.run(IMAGE, TALK, name=name, detach=True)
    container.wait()
    return container


def archive(**files):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    return packed.getvalue()


def test_logs_of_both_streams_and_of_each(talker):
    assert talker.logs() == b"out\nerr\n"
    assert talker.logs(stderr=False) == b"out\n"
    assert talker.logs(stdout=False) == b"err\n"


def test_logs_take_tail_and_timestamps(talker):
    assert talker.logs(tail=1) == b"err\n"
    assert talker.logs(tail=0) == b""
    lines = talker.logs(timestamps=True).decode().splitlines()
    assert [line.split(" ")[1] for line in lines] == ["out", "err"]
    assert all(line.startswith("20") and line.split(" ")[0].endswith("Z") for line in lines)


def test_logs_take_since_and_until(talker):
    now = int(time.time())
    assert talker.logs(since=now + 100) == b""
    assert talker.logs(since=now - 1000) == b"out\nerr\n"
    assert talker.logs(until=now - 1000) == b""


def test_logs_follow_to_the_end(client):
    container = client.containers.run(IMAGE, ["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done"], detach=True)
    assert b"".join(container.logs(stream=True, follow=True)) == b"1\n2\n3\n"


def test_logs_stream_can_be_closed(client, sleeper):
    stream = sleeper.logs(stream=True, follow=True)
    threading.Timer(0.3, stream.close).start()
    assert list(stream) == []


def test_logs_of_a_terminal_are_plain(client):
    container = client.containers.run(IMAGE, "echo tty", detach=True, tty=True)
    container.wait()
    assert container.logs() == b"tty\r\n"


def test_attach_tells_what_was_said(talker):
    assert talker.attach(logs=True, stdout=True, stderr=True) == b"out\nerr\n"


def test_attach_demultiplexes(client):
    container = client.containers.create(IMAGE, TALK)
    stream = container.attach(stream=True, demux=True)
    container.start()
    assert list(stream) == [(b"out\n", None), (None, b"err\n")]


def test_attach_socket_writes_to_standard_input(client):
    container = client.containers.create(IMAGE, "cat", stdin_open=True)
    attached = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    container.start()
    attached._sock.sendall(b"through\n")
    attached._sock.shutdown(1)
    said = b""
    while chunk := attached._sock.recv(100):
        said += chunk
    assert said == b"\x01\0\0\0\0\0\0\x08through\n"
    assert container.wait()["StatusCode"] == 0


def test_attach_by_websocket(client):
    container = client.containers.run(IMAGE, "cat", stdin_open=True, tty=True, detach=True)
    answer = client.api._get(
        client.api._url("/containers/{0}/attach/ws", container.id),
        params={"stream": 1, "stdin": 1, "stdout": 1},
        headers={
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Origin": "http://localhost",
        },
        stream=True,
    )
    assert answer.status_code == 101
    assert answer.headers["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    answer.close()


def test_resize_changes_the_terminal(client):
    script = "while :; do stty size; sleep 0.1; done"
    container = client.containers.run(IMAGE, ["sh", "-c", script], tty=True, detach=True)
    container.resize(height=33, width=77)
    eventually(lambda: b"33 77" in container.logs(), "the new size")


def test_exec_run_returns_code_and_output(sleeper):
    assert sleeper.exec_run("echo hello") == (0, b"hello\n")
    assert sleeper.exec_run(["sh", "-c", "exit 3"]) == (3, b"")
    assert sleeper.exec_run("pwd", workdir="/tmp").output == b"/tmp\n"
    assert sleeper.exec_run("id -u", user="worker").output == b"1000\n"
    assert sleeper.exec_run(["sh", "-c", "echo $A"], environment={"A": "1"}).output == b"1\n"


def test_exec_run_tells_what_is_not_there(sleeper):
    code, output = sleeper.exec_run("nosuch-program")
    assert code == 127
    assert b"executable file not found" in output


def test_exec_run_demultiplexes(sleeper):
    assert sleeper.exec_run(TALK, demux=True) == (0, (b"out\n", b"err\n"))
    assert sleeper.exec_run(TALK, stderr=False).output == b"out\n"


def test_exec_run_streams(sleeper):
    code, stream = sleeper.exec_run(["sh", "-c", "echo one; sleep 0.3; echo two"], stream=True)
    assert code is None
    assert list(stream) == [b"one\n", b"two\n"]
    _, stream = sleeper.exec_run(TALK, stream=True, demux=True)
    assert list(stream) == [(b"out\n", None), (None, b"err\n")]


def test_exec_run_gives_the_socket(sleeper):
    _, socket = sleeper.exec_run("cat", stdin=True, socket=True)
    socket._sock.sendall(b"through\n")
    socket._sock.shutdown(1)
    said = b""
    while chunk := socket._sock.recv(100):
        said += chunk
    assert said == b"\x01\0\0\0\0\0\0\x08through\n"


def test_exec_run_with_a_terminal(sleeper):
    assert sleeper.exec_run("tty", tty=True) == (0, b"/dev/pts/0\r\n")


def test_exec_run_detached(client, sleeper):
    assert not sleeper.exec_run(["sh", "-c", "echo > /made"], detach=True).output
    eventually(lambda: sleeper.exec_run("test -e /made").exit_code == 0, "what the other made")


def test_exec_inspect_and_resize(client, sleeper):
    made = client.api.exec_create(sleeper.id, "sleep 1000", tty=True, user="worker", privileged=True)["Id"]
    told = client.api.exec_inspect(made)
    assert (told["Running"], told["ExitCode"], told["ContainerID"]) == (False, None, sleeper.id)
    client.api.exec_start(made, detach=True, tty=True)
    client.api.exec_resize(made, height=30, width=90)
    told = client.api.exec_inspect(made)
    assert told["Running"] and told["Pid"] > 0
    assert told["ProcessConfig"]["entrypoint"] == "sleep" and told["ProcessConfig"]["tty"]
    sleeper.reload()
    assert made in sleeper.attrs["ExecIDs"]


def test_exec_in_what_does_not_run(client):
    container = client.containers.create(IMAGE, "true")
    with pytest.raises(docker.errors.APIError) as raised:
        container.exec_run("true")
    assert raised.value.status_code == 409
    assert raised.value.explanation == f"container {container.id} is not running"


def test_put_and_get_archive(sleeper):
    assert sleeper.put_archive("/tmp", archive(file=b"contents"))
    assert sleeper.exec_run("cat /tmp/file").output == b"contents"
    stream, stat = sleeper.get_archive("/tmp/file", encode_stream=True)
    assert (stat["name"], stat["size"], stat["linkTarget"]) == ("file", 8, "")
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
        assert tar.extractfile("file").read() == b"contents"


def test_archives_of_what_is_not_there(sleeper):
    with pytest.raises(docker.errors.NotFound) as raised:
        sleeper.get_archive("/nosuch")
    assert raised.value.explanation == f"Could not find the file /nosuch in container {sleeper.id}"
    with pytest.raises(docker.errors.NotFound):
        sleeper.put_archive("/nosuch", archive(file=b""))
    with pytest.raises(docker.errors.APIError) as raised:
        sleeper.put_archive("/etc/passwd", archive(file=b""))
    assert raised.value.status_code == 400


def test_archives_of_what_has_ended(client):
    container = client.containers.create(IMAGE, "cat /tmp/before")
    container.put_archive("/tmp", archive(before=b"put"))
    container.start()
    container.wait()
    assert container.logs() == b"put"
    stream, _ = container.get_archive("/etc")
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
        assert {"etc", "etc/passwd", "etc/group"} <= set(tar.getnames())


def test_export_is_the_whole_root(client, sleeper):
    sleeper.exec_run(["sh", "-c", "echo new > /new"])
    with tarfile.open(fileobj=io.BytesIO(b"".join(sleeper.export()))) as tar:
        assert tar.extractfile("new").read() == b"new\n"
        assert {"bin/busybox", "etc/passwd"} <= set(tar.getnames())


def test_events_are_told_as_they_come(client, name):
    stream = client.events(decode=True, filters={"container": name})
    container = client.containers.run(IMAGE, "true", name=name, detach=True)
    container.wait()
    container.remove()
    seen = [next(stream) for _ in range(4)]
    stream.close()
    assert [event["Action"] for event in seen] == ["create", "start", "die", "destroy"]
    assert all(event["Actor"]["Attributes"]["name"] == name for event in seen)
    assert seen[2]["Actor"]["Attributes"]["exitCode"] == "0"


def test_events_of_the_past(client, name):
    since = time.time() - 1
    client.containers.run(IMAGE, "true", name=name, remove=True)
    told = client.events(since=since, until=time.time() + 0.1, filters={"type": "container", "container": name})
    actions = [json.loads(line)["Action"] for chunk in told for line in chunk.splitlines()]
    assert actions == ["create", "start", "die", "destroy"]
