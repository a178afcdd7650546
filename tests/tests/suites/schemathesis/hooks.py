"""Lets the requests that schemathesis makes up be about what is there.

Before each request for a container, an exec, an image, a volume or a network by its name, there is one in the state that the
operation is for, and its name takes the place of the one that was made up. Each fifth request keeps that. Streams that would
not end are told to.
"""

import collections
import itertools

import requests
import schemathesis

ENGINE = "http://127.0.0.1:2375/v1.51"
IMAGE = "busybox"

# Of each operation on a container, the state that it is for.
CONTAINERS = {
    "ContainerInspect": "running",
    "ContainerTop": "running",
    "ContainerLogs": "exited",
    "ContainerChanges": "exited",
    "ContainerExport": "exited",
    "ContainerStats": "running",
    "ContainerResize": "running",
    "ContainerStart": "exited",
    "ContainerStop": "running",
    "ContainerRestart": "running",
    "ContainerKill": "running",
    "ContainerUpdate": "running",
    "ContainerRename": "exited",
    "ContainerPause": "running",
    "ContainerUnpause": "paused",
    "ContainerAttach": "exited",
    "ContainerWait": "exited",
    "ContainerDelete": "exited",
    "ContainerArchiveInfo": "exited",
    "ContainerArchive": "exited",
    "PutContainerArchive": "exited",
    "ContainerExec": "running",
}

engine = requests.Session()
requests_of = collections.defaultdict(itertools.count)


def ask(method, path, *accepted, **arguments):
    try:
        answer = engine.request(method, ENGINE + path, timeout=60, **arguments)
    except requests.RequestException as error:
        raise AssertionError(f"{method} {path}: {error}") from error
    assert answer.status_code in accepted, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer


def busybox():
    """The image, pulled anew where a request has removed it."""
    if ask("GET", f"/images/{IMAGE}/json", 200, 404).status_code == 404:
        ask("POST", "/images/create", 200, params={"fromImage": IMAGE, "tag": "latest"})
    return IMAGE


def container(state):
    """The name of a container in a state, made anew where it is in another by now."""
    name = f"there-{state}"
    found = ask("GET", f"/containers/{name}/json", 200, 404)
    if found.status_code == 200 and found.json()["State"]["Status"] == state:
        return name
    ask("DELETE", f"/containers/{name}?force=1", 204, 404)
    ask("POST", f"/containers/create?name={name}", 201, json={"Image": busybox(), "Cmd": ["sleep", "100000"], "StopSignal": "KILL"})
    ask("POST", f"/containers/{name}/start", 204)
    if state == "paused":
        ask("POST", f"/containers/{name}/pause", 204)
    if state == "exited":
        ask("POST", f"/containers/{name}/kill", 204)
        ask("POST", f"/containers/{name}/wait", 200)
    return name


def execution(command):
    """The id of an exec that was not started."""
    path = f"/containers/{container('running')}/exec"
    return ask("POST", path, 201, json={"Cmd": command, "AttachStdout": True}).json()["Id"]


def started_execution():
    made = execution(["sleep", "1"])
    ask("POST", f"/exec/{made}/start", 200, json={"Detach": True})
    return made


def image(name):
    """A name for the image."""
    repository, _, tag = name.rpartition(":")
    ask("POST", f"/images/{busybox()}/tag", 201, params={"repo": repository, "tag": tag})
    return name


def volume():
    ask("POST", "/volumes/create", 201, json={"Name": "there"})
    return "there"


def network():
    if ask("GET", "/networks/there", 200, 404).status_code == 404:
        ask("POST", "/networks/create", 201, json={"Name": "there"})
    return "there"


# Of each other operation on something by name, its parameter and what is there for it.
THINGS = {
    "ExecStart": ("id", lambda: execution(["true"])),
    "ExecInspect": ("id", lambda: execution(["true"])),
    "ExecResize": ("id", started_execution),
    "ImageInspect": ("name", busybox),
    "ImageHistory": ("name", busybox),
    "ImageGet": ("name", busybox),
    "ImageTag": ("name", busybox),
    "ImagePush": ("name", lambda: image("localhost:5000/there:latest")),
    "ImageDelete": ("name", lambda: image("there:latest")),
    "DistributionInspect": ("name", lambda: "localhost:5000/alpine"),
    "VolumeInspect": ("name", volume),
    "VolumeUpdate": ("name", volume),
    "VolumeDelete": ("name", volume),
    "NetworkInspect": ("id", network),
    "NetworkDelete": ("id", network),
    "NetworkConnect": ("id", network),
    "NetworkDisconnect": ("id", network),
}

# Parameters of the query that would keep an answer from coming to its end, and what ends it.
ENDS = {
    "ContainerLogs": {"follow": "false"},
    "ContainerStats": {"stream": "false", "one-shot": "true"},
    "ContainerAttach": {"stream": "false"},
    "ContainerWait": {"condition": "not-running"},
    "ContainerStop": {"t": "0"},
    "ContainerRestart": {"t": "0"},
    "SystemEvents": {"until": "1"},
}


@schemathesis.serializer("application/x-tar")
def archive(context, value):
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.hook
def before_call(context, case, kwargs):
    operation = case.operation.definition.raw["operationId"]
    if operation in ENDS:
        case.query = {**(case.query or {}), **ENDS[operation]}
    if next(requests_of[operation]) % 5 == 4:
        if operation == "ContainerWait":
            # A container of the made-up name may be there, and run.
            case.path_parameters = {"id": "nosuch"}
        return
    if operation in CONTAINERS:
        case.path_parameters = {"id": container(CONTAINERS[operation])}
    elif operation in THINGS:
        parameter, thing = THINGS[operation]
        case.path_parameters = {parameter: thing()}
    elif operation == "ImageCommit":
        case.query = {**(case.query or {}), "container": container("exited")}
    elif operation == "ImageGetAll":
        case.query = {**(case.query or {}), "names": [busybox()]}
    if operation == "ContainerCreate" and isinstance(case.body, dict):
        case.body["Image"] = busybox()
    if operation in ("NetworkConnect", "NetworkDisconnect") and isinstance(case.body, dict):
        case.body["Container"] = container("exited")
