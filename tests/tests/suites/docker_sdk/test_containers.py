"""Containers: made, found, changed, ended."""

import docker
import pytest
from conftest import IMAGE, eventually


def test_run_returns_the_output(client):
    assert client.containers.run(IMAGE, "echo hello", remove=True) == b"hello\n"
    assert client.containers.list(all=True) == []


def test_run_returns_standard_error_where_asked(client):
    command = ["sh", "-c", "echo out; echo err >&2"]
    assert client.containers.run(IMAGE, command, stdout=False, stderr=True) == b"err\n"


def test_run_streams_the_output(client):
    stream = client.containers.run(IMAGE, ["sh", "-c", "echo one; sleep 0.3; echo two"], stream=True)
    assert b"".join(stream) == b"one\ntwo\n"


def test_run_detached_returns_a_container(client, name):
    container = client.containers.run(IMAGE, "sleep 1000", name=name, detach=True)
    assert (container.name, container.status) == (name, "created")
    container.reload()
    assert container.status == "running"
    assert len(container.short_id) == 12 and container.id.startswith(container.short_id)


def test_run_raises_the_error_of_the_container(client):
    with pytest.raises(docker.errors.ContainerError) as raised:
        client.containers.run(IMAGE, ["sh", "-c", "echo broken >&2; exit 3"])
    assert raised.value.exit_status == 3
    assert raised.value.stderr == b"broken\n"


def test_run_pulls_an_image_that_is_not_there(client):
    assert client.containers.run("alpine", "cat /etc/alpine-release") == b"3.22.0\n"
    client.images.remove("alpine", force=True)


def test_run_raises_that_there_is_no_image(client):
    with pytest.raises(docker.errors.NotFound):
        client.containers.run("localhost:5000/nosuch", "true")


def test_run_raises_that_there_is_no_command(client):
    with pytest.raises(docker.errors.APIError) as raised:
        client.containers.run(IMAGE, "nosuch-program")
    assert raised.value.status_code == 400
    assert "executable file not found" in raised.value.explanation


def test_create_does_not_start(client, name):
    container = client.containers.create(IMAGE, "true", name=name)
    assert container.status == "created"
    container.start()
    assert container.wait()["StatusCode"] == 0
    container.reload()
    assert container.status == "exited"


def test_create_takes_all_kinds_of_settings(client, name):
    container = client.containers.create(
        IMAGE,
        ["sleep", "9"],
        name=name,
        cap_add=["NET_ADMIN"],
        cap_drop=["CHOWN"],
        cpu_period=100000,
        cpu_quota=50000,
        cpu_shares=512,
        cpuset_cpus="0",
        dns=["10.9.8.7"],
        domainname="example",
        entrypoint=["/bin/env"],
        environment={"A": "1", "B": None},
        extra_hosts={"there": "10.0.0.1"},
        group_add=["29"],
        hostname="box",
        labels={"a": "b"},
        mem_limit="64m",
        memswap_limit="128m",
        mem_reservation="32m",
        network_mode="none",
        oom_score_adj=100,
        pids_limit=99,
        read_only=True,
        security_opt=["no-new-privileges"],
        shm_size="32m",
        stdin_open=True,
        stop_signal="SIGINT",
        sysctls={"net.ipv4.ip_forward": "0"},
        tmpfs={"/t": "size=1m"},
        tty=True,
        ulimits=[docker.types.Ulimit(name="nofile", soft=100, hard=200)],
        user="1000",
        working_dir="/tmp",
    )
    config, host = container.attrs["Config"], container.attrs["HostConfig"]
    assert (config["Hostname"], config["Domainname"], config["User"]) == ("box", "example", "1000")
    assert (config["Tty"], config["OpenStdin"], config["WorkingDir"]) == (True, True, "/tmp")
    assert "A=1" in config["Env"] and "B" in config["Env"]
    assert (config["Entrypoint"], config["StopSignal"], config["Labels"]["a"]) == (["/bin/env"], "SIGINT", "b")
    assert (host["Memory"], host["MemorySwap"], host["MemoryReservation"]) == (64 << 20, 128 << 20, 32 << 20)
    assert (host["CpuShares"], host["CpuPeriod"], host["CpuQuota"], host["CpusetCpus"]) == (512, 100000, 50000, "0")
    assert (host["PidsLimit"], host["OomScoreAdj"], host["ShmSize"]) == (99, 100, 32 << 20)
    # Docker 28 writes the prefix; an older one did not.
    assert [name.removeprefix("CAP_") for name in host["CapAdd"] + host["CapDrop"]] == ["NET_ADMIN", "CHOWN"]
    assert (host["ReadonlyRootfs"], host["NetworkMode"]) == (True, "none")
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 100, "Hard": 200}]
    assert (host["Dns"], host["ExtraHosts"], host["GroupAdd"]) == (["10.9.8.7"], ["there:10.0.0.1"], ["29"])
    assert (host["Tmpfs"], host["SecurityOpt"]) == ({"/t": "size=1m"}, ["no-new-privileges"])


def test_run_with_an_init(client):
    assert b"init" in client.containers.run(IMAGE, "cat /proc/1/cmdline", init=True)


def test_a_name_is_taken_once(client, name):
    client.containers.create(IMAGE, "true", name=name)
    with pytest.raises(docker.errors.APIError) as raised:
        client.containers.create(IMAGE, "true", name=name)
    assert raised.value.status_code == 409
    assert f'The container name "/{name}" is already in use' in raised.value.explanation


def test_get_finds_by_name_and_id(client, sleeper):
    for key in (sleeper.name, sleeper.id, sleeper.short_id):
        assert client.containers.get(key).id == sleeper.id
    with pytest.raises(docker.errors.NotFound) as raised:
        client.containers.get("nosuch")
    assert raised.value.explanation == "No such container: nosuch"


def test_list_filters(client, name):
    running = client.containers.run(IMAGE, "sleep 1000", name=name, detach=True, labels={"role": "x", "y": ""})
    ended = client.containers.run(IMAGE, "false", name=f"{name}-ended", detach=True)
    ended.wait()

    def names(**options):
        return sorted(container.name for container in client.containers.list(**options))

    assert names() == [name]
    assert names(all=True) == [name, f"{name}-ended"]
    assert names(limit=1) == [f"{name}-ended"]
    for filters, expected in [
        ({"label": "role"}, [name]),
        ({"label": "role=x"}, [name]),
        ({"label": ["role=x", "y"]}, [name]),
        ({"label": "role=z"}, []),
        ({"status": "exited"}, [f"{name}-ended"]),
        ({"exited": 1}, [f"{name}-ended"]),
        ({"exited": 2}, []),
        ({"name": f"{name}-"}, [f"{name}-ended"]),
        ({"id": running.id}, [name]),
        ({"ancestor": IMAGE}, [name, f"{name}-ended"]),
        ({"before": ended.id}, [name]),
        ({"since": running.id}, [f"{name}-ended"]),
        ({"network": "bridge"}, [name, f"{name}-ended"]),
        ({"volume": "nosuch"}, []),
        ({"status": "paused"}, []),
    ]:
        assert names(all=True, filters=filters) == expected, filters
    sparse = client.containers.list(all=True, sparse=True)
    assert [container.id for container in sparse] == [ended.id, running.id]
    with pytest.raises(docker.errors.APIError) as raised:
        client.containers.list(filters={"status": "nosuch"})
    assert raised.value.status_code == 400


def test_stop_start_and_restart(client, name):
    script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    container = client.containers.run(IMAGE, ["sh", "-c", script], name=name, detach=True)
    eventually(lambda: container.logs() == b"ready\n", "the trap")
    container.stop(timeout=10)
    assert container.wait()["StatusCode"] == 5
    container.start()
    container.reload()
    first = container.attrs["State"]["StartedAt"]
    container.restart(timeout=0)
    container.reload()
    assert container.status == "running"
    assert container.attrs["State"]["StartedAt"] > first


def test_kill_sends_the_signal(client, sleeper):
    sleeper.kill(signal="USR1")
    sleeper.kill()
    assert sleeper.wait()["StatusCode"] == 137
    with pytest.raises(docker.errors.APIError) as raised:
        sleeper.kill()
    assert raised.value.status_code == 409
    assert "is not running" in raised.value.explanation


def test_pause_and_unpause(client, sleeper):
    sleeper.pause()
    sleeper.reload()
    assert sleeper.status == "paused"
    with pytest.raises(docker.errors.APIError) as raised:
        sleeper.pause()
    assert raised.value.status_code == 409
    sleeper.unpause()
    sleeper.reload()
    assert sleeper.status == "running"


def test_wait_tells_conditions_and_times_out(client, sleeper):
    with pytest.raises(Exception, match="timed out"):
        sleeper.wait(timeout=0.5)
    sleeper.kill()
    assert sleeper.wait(condition="not-running") == {"StatusCode": 137}


def test_rename(client, sleeper, name):
    sleeper.rename(f"{name}-new")
    sleeper.reload()
    assert sleeper.name == f"{name}-new"
    with pytest.raises(docker.errors.NotFound):
        client.containers.get(name)


def test_update_changes_limits(client, sleeper):
    told = sleeper.update(mem_limit="64m", memswap_limit="64m", cpu_shares=300)
    assert not told["Warnings"]
    sleeper.reload()
    host = sleeper.attrs["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["CpuShares"]) == (64 << 20, 64 << 20, 300)


def test_remove_wants_force_for_what_runs(client, sleeper):
    with pytest.raises(docker.errors.APIError) as raised:
        sleeper.remove()
    assert raised.value.status_code == 409
    sleeper.remove(force=True)
    with pytest.raises(docker.errors.NotFound):
        sleeper.reload()


def test_prune_removes_what_has_ended(client, sleeper):
    ended = client.containers.run(IMAGE, ["sh", "-c", "echo x > /file"], detach=True, labels={"prune": "yes"})
    ended.wait()
    assert not client.containers.prune(filters={"label": "prune=no"})["ContainersDeleted"]
    pruned = client.containers.prune(filters={"label": "prune=yes"})
    assert pruned["ContainersDeleted"] == [ended.id]
    assert pruned["SpaceReclaimed"] > 0
    assert [container.id for container in client.containers.list(all=True)] == [sleeper.id]


def test_auto_remove(client, name):
    container = client.containers.run(IMAGE, "true", name=name, detach=True, auto_remove=True)

    def gone():
        try:
            container.reload()
        except docker.errors.NotFound:
            return True
        return False

    eventually(gone, "the end of a container that removes itself")


def test_properties_tell_image_labels_and_ports(client):
    container = client.containers.run(IMAGE, "sleep 1000", detach=True, labels={"a": "b"}, ports={"80/tcp": 18080, "53/udp": None})
    container.reload()
    assert f"{IMAGE}:latest" in container.image.tags
    assert container.labels["a"] == "b"
    assert container.ports["80/tcp"][0]["HostPort"] == "18080"
    assert int(container.ports["53/udp"][0]["HostPort"]) > 0
    assert container.health == "unknown"


def test_top_lists_processes(client, sleeper):
    told = sleeper.top()
    assert "PID" in told["Titles"] and "CMD" in told["Titles"]
    assert [row[told["Titles"].index("CMD")] for row in told["Processes"]] == ["sleep 1000"]
    assert sleeper.top(ps_args="-eo pid,comm")["Titles"] == ["PID", "COMMAND"]


def test_stats_once_and_as_a_stream(client, sleeper):
    once = sleeper.stats(stream=False)
    assert once["memory_stats"]["usage"] > 0 and once["pids_stats"]["current"] == 1
    assert once["cpu_stats"]["online_cpus"] > 0 and "eth0" in once["networks"]
    stream = sleeper.stats(decode=True)
    first, second = next(stream), next(stream)
    assert first["id"] == second["id"] == sleeper.id
    assert second["read"] > first["read"]


def test_diff_tells_changes(client):
    container = client.containers.run(IMAGE, ["sh", "-c", "echo > /new; rm /etc/secret; echo >> /etc/group"], detach=True)
    container.wait()
    changes = {change["Path"]: change["Kind"] for change in container.diff()}
    assert (changes["/new"], changes["/etc/secret"], changes["/etc/group"]) == (1, 2, 0)


def test_commit_makes_an_image(client, name):
    container = client.containers.run(IMAGE, ["sh", "-c", "echo kept > /kept"], detach=True)
    container.wait()
    image = container.commit(repository=name, tag="1", message="why", author="who", changes="ENV COMMITTED=yes", conf={"Cmd": ["cat", "/kept"]})
    try:
        assert image.tags == [f"{name}:1"]
        assert (image.attrs["Comment"], image.attrs["Author"]) == ("why", "who")
        assert "COMMITTED=yes" in image.attrs["Config"]["Env"]
        assert client.containers.run(image, ["cat", "/kept"]) == b"kept\n"
    finally:
        client.images.remove(image.id, force=True)
