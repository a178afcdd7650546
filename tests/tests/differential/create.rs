//! Containers made and inspected.

use crate::harness::{Difference, Pair, Request, delete, get, post};

/// What stays different, and why.
const DIFFERENCES: &[Difference] = &[
    // Docker answers some faults of clients with 500 and with words of its own insides.
    (
        "POST /containers/create?name=fault-",
        "status",
        "a client's fault is answered with 400",
    ),
    (
        "POST /containers/nobody/start",
        "status",
        "a client's fault is answered with 400",
    ),
    (
        "POST /containers/create?name=later-",
        "",
        "not there yet, and refused by name",
    ),
    (
        "POST /containers/create?name=early-nowhere",
        "",
        "seen at the start: the file may be a mount's by then",
    ),
    (
        "POST /containers/create?name=early-",
        "",
        "what can never start is refused at once",
    ),
    ("GET /containers/{unnamed}/json", "/Name", "made up"),
    (
        "GET /containers/{24}/json after POST /containers/create?name=published",
        "/Config/ExposedPorts",
        "a port that is published is exposed",
    ),
    (
        "GET /containers/{2}/json after POST /containers/create?name=runs",
        "/Config/ExposedPorts",
        "a port that is published is exposed",
    ),
    (
        "GET /containers/runs/json",
        "/Config/ExposedPorts",
        "a port that is published is exposed",
    ),
    (
        "GET /containers/runs/json",
        "/NetworkSettings/Ports",
        "a port is published whether or not it is exposed too",
    ),
    (
        "GET /containers/{17}/json after POST /containers/create?name=connected-nowhere",
        "/NetworkSettings/Networks/bridge",
        "the network of the mode is one of the container's, whatever else is asked for",
    ),
    (
        "POST /containers/create?name=v41-other",
        "/message",
        "the words of newer versions",
    ),
    (
        "GET /containers/{4}/json after POST /containers/create?name=v39-auto",
        "/HostConfig/KernelMemory",
        "no kernel has this limit any more",
    ),
];

#[test]
#[ignore = "needs the reference engine: cargo xtask reference"]
fn containers_are_made_the_same() {
    let mut pair = Pair::new(DIFFERENCES);
    pair.compare(&processes());
    pair.compare(&resources());
    pair.compare(&isolation());
    pair.compare(&places());
    pair.compare(&started());
    pair.compare(&older_clients());
    pair.compare(&refusals());
    pair.compare(&impossible_limits());
    pair.compare(&impossible_places());
    pair.compare(&not_yet());
    pair.compare(&inspections());
    pair.finish(
        &[
            ("POST", "/containers/create", &[201, 400, 404, 409]),
            ("GET", "/containers/{id}/json", &[200, 404]),
        ],
        &[],
    );
}

fn create(name: &str, fields: &str) -> Request {
    post(
        format!("/containers/create?name={name}"),
        format!(
            r#"{{"Image":"busybox"{}{fields}}}"#,
            if fields.is_empty() { "" } else { "," }
        ),
    )
}

/// With this `HostConfig`.
fn host(name: &str, fields: &str) -> Request {
    create(name, &format!(r#""HostConfig":{{{fields}}}"#))
}

/// With a bind of these options.
fn mount(name: &str, fields: &str) -> Request {
    host(
        name,
        &format!(r#""Mounts":[{{"Type":"bind","Source":"/etc","Target":"/m",{fields}}}]"#),
    )
}

/// What runs, as whom and how it ends.
fn processes() -> Vec<Request> {
    vec![
        post("/containers/create", r#"{"Image":"busybox"}"#).named("unnamed"),
        create("plain", ""),
        create("cmd", r#""Cmd":["echo","a b","c"]"#),
        create("cmd-text", r#""Cmd":"echo""#),
        create("entrypoint", r#""Entrypoint":["/bin/env","-i"],"Cmd":["x"]"#),
        create("entrypoint-alone", r#""Entrypoint":["/bin/env"]"#),
        create("entrypoint-empty", r#""Entrypoint":[],"Cmd":["x"]"#),
        create("entrypoint-cleared", r#""Entrypoint":[""],"Cmd":["x"]"#),
        create("env", r#""Env":["A=1","B","PATH=/x","EMPTY=","A=2"]"#),
        create("user", r#""User":"1000:29","WorkingDir":"/tmp//x/../y/""#),
        create("names", r#""Hostname":"box","Domainname":"example.org""#),
        create("labels", r#""Labels":{"a":"b","made":"there","empty":""}"#),
        create("stop", r#""StopSignal":"SIGINT","StopTimeout":7"#),
        create("stop-number", r#""StopSignal":"9","StopTimeout":0"#),
        create(
            "terminal",
            r#""Tty":true,"OpenStdin":true,"StdinOnce":true,"AttachStdin":true"#,
        ),
        create("attached", r#""AttachStdout":true,"AttachStderr":true"#),
        create("ports", r#""ExposedPorts":{"80/tcp":{},"53/udp":{},"7":{}}"#),
        create("port-range", r#""ExposedPorts":{"8000-8002/tcp":{}}"#),
        create("volumes", r#""Volumes":{"/data":{},"/other/":{}}"#).unseen(),
        create("unchecked", r#""Healthcheck":{"Test":["NONE"]}"#),
        create("unnetworked", r#""NetworkDisabled":true"#),
        create("mac", r#""MacAddress":"02:42:ac:11:00:99""#),
        create("shell", r#""Shell":["/bin/sh"],"OnBuild":["RUN x"],"ArgsEscaped":true"#),
        create("by-tag", "").named("by-tag"),
        post(
            "/containers/create?name=by-id&platform=linux/amd64",
            r#"{"Image":"busybox:latest"}"#,
        ),
        post(
            "/containers/create?name=%2Fslashed",
            r#"{"Image":"docker.io/library/busybox"}"#,
        ),
    ]
}

/// How much it may have.
fn resources() -> Vec<Request> {
    vec![
        host("memory", r#""Memory":67108864"#),
        host(
            "memory-swap",
            r#""Memory":67108864,"MemorySwap":134217728,"MemoryReservation":33554432"#,
        ),
        host("memory-unlimited", r#""Memory":67108864,"MemorySwap":-1"#),
        host("swappiness-default", r#""MemorySwappiness":-1"#),
        host("cpu-shares", r#""CpuShares":512,"CpusetCpus":"0-1","CpusetMems":"0""#),
        host("cpu-quota", r#""CpuPeriod":50000,"CpuQuota":25000"#),
        host("nano-cpus", r#""NanoCpus":1500000000"#),
        host("pids", r#""PidsLimit":99"#),
        host("pids-unlimited", r#""PidsLimit":-1"#),
        host("pids-zero", r#""PidsLimit":0"#),
        host("oom", r#""OomScoreAdj":500,"OomKillDisable":false"#),
        host("shm", r#""ShmSize":33554432"#),
        host(
            "ulimits",
            r#""Ulimits":[{"Name":"nofile","Soft":100,"Hard":200},{"Name":"core","Soft":0,"Hard":0}]"#,
        ),
        host("cgroup-parent", r#""CgroupParent":"/conex-test-parent""#),
        host(
            "devices",
            r#""Devices":[{"PathOnHost":"/dev/null","PathInContainer":"/dev/nil","CgroupPermissions":"rw"}]"#,
        ),
        host("device-rules", r#""DeviceCgroupRules":["c 1:3 rwm","a *:* r"]"#),
        host(
            "windows",
            r#""CpuCount":0,"CpuPercent":0,"IOMaximumIOps":0,"IOMaximumBandwidth":0"#,
        ),
        host("isolation", r#""Isolation":"default""#),
        host("removed", r#""AutoRemove":true"#),
        host("restart", r#""RestartPolicy":{"Name":"no","MaximumRetryCount":0}"#),
        host("console", r#""ConsoleSize":[24,80]"#),
        host("annotations", r#""Annotations":{"org.example.a":"b"}"#),
    ]
}

/// What it may do and see.
fn isolation() -> Vec<Request> {
    vec![
        host("privileged", r#""Privileged":true"#),
        host(
            "capabilities",
            r#""CapAdd":["NET_ADMIN","cap_sys_time"],"CapDrop":["CHOWN"]"#,
        ),
        host("capabilities-all", r#""CapAdd":["ALL"],"CapDrop":["all"]"#),
        host("read-only", r#""ReadonlyRootfs":true"#),
        host(
            "security",
            r#""SecurityOpt":["no-new-privileges","seccomp=unconfined"]"#,
        ),
        host(
            "security-colon",
            r#""SecurityOpt":["no-new-privileges:false","label:disable"]"#,
        ),
        host("fault-unmasked", r#""SecurityOpt":["systempaths=unconfined"]"#),
        host("masked", r#""MaskedPaths":["/proc/keys"],"ReadonlyPaths":[]"#),
        host(
            "sysctls",
            r#""Sysctls":{"net.ipv4.ip_forward":"0","kernel.msgmax":"8192"}"#,
        ),
        host("groups", r#""GroupAdd":["audio","1234"]"#),
        host("ipc-host", r#""IpcMode":"host""#),
        host("ipc-none", r#""IpcMode":"none""#),
        host("ipc-shareable", r#""IpcMode":"shareable""#),
        host("pid-host", r#""PidMode":"host""#),
        host("uts-host", r#""UTSMode":"host""#),
        host("userns-host", r#""UsernsMode":"host""#),
        host("cgroupns-private", r#""CgroupnsMode":"private""#),
        host("cgroupns-host", r#""CgroupnsMode":"host""#),
        host("net-none", r#""NetworkMode":"none""#),
        host("net-host", r#""NetworkMode":"host""#),
        host("net-default", r#""NetworkMode":"default""#),
        host("net-bridge", r#""NetworkMode":"bridge""#),
        host("net-container", r#""NetworkMode":"container:net-none""#),
        host(
            "dns",
            r#""Dns":["10.9.8.7"],"DnsSearch":["example"],"DnsOptions":["ndots:2"],"ExtraHosts":["h:10.0.0.1","g:host-gateway"]"#,
        ),
        host(
            "published",
            r#""PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"},{"HostPort":""}],"53/udp":null}"#,
        ),
        host("published-all", r#""PublishAllPorts":true"#),
        host("links", r#""Links":["plain:alias"]"#),
    ]
}

/// Where its files are.
fn places() -> Vec<Request> {
    vec![
        post("/volumes/create", r#"{"Name":"kept"}"#).unseen(),
        host("bind", r#""Binds":["/etc:/host-etc:ro","/tmp:/host-tmp:rw,rslave"]"#),
        host("volume", r#""Binds":["kept:/kept","made:/made:nocopy"]"#).unseen(),
        host("tmpfs", r#""Tmpfs":{"/t":"size=1m,mode=1770","/u":""}"#),
        mount("below-forced", r#""ReadOnly":true,"BindOptions":{"ReadOnlyForceRecursive":true}"#),
        mount("below-of-writable", r#""BindOptions":{"ReadOnlyNonRecursive":true}"#),
        mount("below-kept", r#""ReadOnly":true,"BindOptions":{"ReadOnlyNonRecursive":true}"#),
        host(
            "mounts",
            r#""Mounts":[{"Type":"bind","Source":"/etc","Target":"/e","ReadOnly":true,"BindOptions":{"Propagation":"rprivate"}},
            {"Type":"tmpfs","Target":"/m","TmpfsOptions":{"SizeBytes":65536,"Mode":448}}]"#,
        ),
        host(
            "mount-volume",
            r#""Mounts":[{"Type":"volume","Source":"kept","Target":"/v","VolumeOptions":{"NoCopy":true,"Labels":{"a":"b"}}}]"#,
        )
        .unseen(),
        host("from", r#""VolumesFrom":["bind:ro","tmpfs"]"#).unseen(),
        host("driver", r#""VolumeDriver":"local""#),
        host("log-none", r#""LogConfig":{"Type":"none"}"#),
        host("log-file", r#""LogConfig":{"Type":"json-file","Config":{}}"#),
        host("runtime", r#""Runtime":"runc""#),
        host("id-file", r#""ContainerIDFile":"/tmp/x""#),
        create("connected", r#""NetworkingConfig":{"EndpointsConfig":{"bridge":{"DriverOpts":{}}}}"#),
        create("connected-nowhere", r#""NetworkingConfig":{"EndpointsConfig":{"nosuch":{}}}"#),
    ]
}

/// Non-default values, running and ended.
fn started() -> Vec<Request> {
    vec![
        create(
            "full",
            r#""Cmd":["sh","-c","exit 3"],"Hostname":"box","User":"1000:29","Env":["A=1"],"WorkingDir":"/tmp",
            "HostConfig":{"Memory":67108864,"NanoCpus":500000000,"PidsLimit":99,"ReadonlyRootfs":true,"CapAdd":["NET_ADMIN"],
            "CapDrop":["CHOWN"],"ExtraHosts":["h:10.0.0.1"],"Tmpfs":{"/t":"size=1m"},"NetworkMode":"none"}"#,
        ),
        post("/containers/full/start", "").unseen(),
        post("/containers/full/wait", ""),
        create(
            "runs",
            r#""Cmd":["sleep","1000"],"ExposedPorts":{"81/tcp":{}},"HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1",
            "HostPort":"8090"}]}}"#,
        ),
        post("/containers/runs/start", ""),
        get("/containers/runs/json?size=1"),
        delete("/containers/runs?force=1"),
        create("ghost", r#""Cmd":["nosuch-program"]"#),
        post("/containers/ghost/start", ""),
        create("nobody", r#""User":"nobody-there""#),
        post("/containers/nobody/start", ""),
        create("early-nowhere", r#""WorkingDir":"/etc/passwd""#),
    ]
}

fn older_clients() -> Vec<Request> {
    vec![
        create("v24", r#""Cmd":["true"]"#).version("/v1.24").unseen(),
        get("/containers/v24/json").version("/v1.24"),
        get("/containers/v24/json?size=true").version("/v1.40"),
        get("/containers/v24/json").version("/v1.43"),
        get("/containers/v24/json").version("/v1.44"),
        get("/containers/v24/json").version("/v1.46"),
        get("/containers/v24/json").version(""),
        host("v24-pids", r#""PidsLimit":0"#).version("/v1.24"),
        host("v39-ipc", r#""IpcMode":"""#).version("/v1.39"),
        host("v39-auto", r#""KernelMemory":33554432"#).version("/v1.39"),
        create("v43-mac", r#""MacAddress":"02:42:ac:11:00:98""#).version("/v1.43"),
        create(
            "v40-networks",
            r#""NetworkingConfig":{"EndpointsConfig":{"bridge":{},"other":{}}}"#,
        )
        .version("/v1.40"),
        host("v40-annotations", r#""Annotations":{"a":"b"}"#).version("/v1.40"),
        host("v24-removes", r#""AutoRemove":true"#).version("/v1.24"),
        host("v41-console", r#""ConsoleSize":[24,80]"#).version("/v1.41"),
        post(
            "/containers/create?name=v40-platform&platform=nosuch/what",
            r#"{"Image":"busybox"}"#,
        )
        .version("/v1.40"),
        create(
            "v43-endpoint-mac",
            r#""NetworkingConfig":{"EndpointsConfig":{"bridge":{"MacAddress":"02:42:ac:11:00:97"}}}"#,
        )
        .version("/v1.43"),
        mount("v39-below", r#""ReadOnly":true,"BindOptions":{"NonRecursive":true}"#).version("/v1.39"),
        mount("v41-made", r#""BindOptions":{"CreateMountpoint":true}"#).version("/v1.41"),
        mount("v41-other", r#""VolumeOptions":{"NoCopy":true},"TmpfsOptions":{}"#).version("/v1.41"),
        mount("v42-other", r#""VolumeOptions":{"NoCopy":true}"#).version("/v1.42"),
        mount("v43-read-only", r#""ReadOnly":true"#).version("/v1.43"),
        host("v43-bind", r#""Binds":["/etc:/e:ro"]"#).version("/v1.43"),
        mount(
            "v43-forced",
            r#""ReadOnly":true,"BindOptions":{"ReadOnlyForceRecursive":true}"#,
        )
        .version("/v1.43"),
        host(
            "v44-subpath",
            r#""Mounts":[{"Type":"volume","Source":"v","Target":"/m","VolumeOptions":{"Subpath":"s"}}]"#,
        )
        .version("/v1.44"),
        host(
            "v47-image",
            r#""Mounts":[{"Type":"image","Source":"busybox","Target":"/m"}]"#,
        )
        .version("/v1.47"),
        get("/containers/json?all=1&limit=1").version("/v1.23"),
        get("/containers/json?all=1&limit=1").version("/v1.99"),
    ]
}

#[expect(clippy::too_many_lines, reason = "a flat list")]
fn refusals() -> Vec<Request> {
    vec![
        post("/containers/create", ""),
        post("/containers/create", "{"),
        post("/containers/create", "{}"),
        post("/containers/create", "[]"),
        post("/containers/create?name=early-imageless", r#"{"Cmd":["x"]}"#),
        post("/containers/create", r#"{"Image":"busybox"}"#).header("Content-Type", "text/plain"),
        post("/containers/create?name=a%20b", r#"{"Image":"busybox"}"#),
        post("/containers/create?name=x", r#"{"Image":"busybox"}"#),
        post("/containers/create?name=-x", r#"{"Image":"busybox"}"#),
        post("/containers/create?platform=nosuch", r#"{"Image":"busybox"}"#),
        post("/containers/create?platform=linux/arm64", r#"{"Image":"busybox"}"#),
        create("one", ""),
        create("one", ""),
        post("/containers/create", r#"{"Image":"nosuch"}"#),
        post("/containers/create", r#"{"Image":"nosuch:tag"}"#),
        post("/containers/create", r#"{"Image":"BUSY"}"#),
        post(
            "/containers/create",
            r#"{"Image":"sha256:0000000000000000000000000000000000000000000000000000000000000000"}"#,
        ),
        create("refused-1", r#""WorkingDir":"relative""#),
        create("refused-2", r#""StopSignal":"NOSUCH""#),
        create("refused-3", r#""StopSignal":"0""#),
        create("refused-4", r#""Env":["=x"]"#),
        create("refused-5", r#""Env":[""]"#),
        create("early-hostname", r#""Hostname":"-x y""#),
        create("refused-7", r#""ExposedPorts":{"x/tcp":{}}"#),
        create("refused-8", r#""ExposedPorts":{"80/nosuch":{}}"#),
        create("refused-9", r#""ExposedPorts":{"99999/tcp":{}}"#),
        create("refused-10", r#""MacAddress":"nosuch""#),
        create("refused-11", r#""Healthcheck":{"Test":["NONE"],"Interval":1}"#),
        create("refused-12", r#""Healthcheck":{"Interval":-1}"#),
        host("fault-capability", r#""CapAdd":["NOSUCH"]"#),
        host("fault-security", r#""SecurityOpt":["nosuch"]"#),
        host("fault-security-value", r#""SecurityOpt":["nosuch=1"]"#),
        host("early-seccomp", r#""SecurityOpt":["seccomp={"]"#),
        host("refused-16", r#""IpcMode":"nosuch""#),
        host("refused-17", r#""PidMode":"nosuch""#),
        host("refused-18", r#""UTSMode":"nosuch""#),
        host("later-userns", r#""UsernsMode":"nosuch""#),
        host("refused-20", r#""CgroupnsMode":"nosuch""#),
        host("refused-21", r#""Isolation":"hyperv""#),
        host("refused-22", r#""RestartPolicy":{"Name":"nosuch"}"#),
        host("refused-23", r#""RestartPolicy":{"Name":"no","MaximumRetryCount":3}"#),
        host("refused-24", r#""RestartPolicy":{"Name":"always"},"AutoRemove":true"#),
        host("later-runtime", r#""Runtime":"nosuch""#),
        // Docker looks for a plugin for a while.
        host("refused-26", r#""LogConfig":{"Type":"nosuch"}"#).patience(60_000),
        host(
            "refused-27",
            r#""LogConfig":{"Type":"json-file","Config":{"nosuch":"1"}}"#,
        ),
        host("refused-28", r#""NetworkMode":"container:nosuch""#),
        host("refused-ipc", r#""IpcMode":"container:nosuch""#),
        host("refused-pid", r#""PidMode":"container:nosuch""#),
        create(
            "refused-29",
            r#""Hostname":"x","HostConfig":{"NetworkMode":"container:one"}"#,
        ),
        create("refused-30", r#""Hostname":"x","HostConfig":{"UTSMode":"host"}"#),
        host("refused-31", r#""NetworkMode":"host","Links":["one:x"]"#),
        host("refused-32", r#""NetworkMode":"container:one","Dns":["1.1.1.1"]"#),
        host(
            "refused-33",
            r#""NetworkMode":"container:one","ExtraHosts":["a:1.1.1.1"]"#,
        ),
        host(
            "refused-34",
            r#""NetworkMode":"container:one","PortBindings":{"80/tcp":[{"HostPort":"1"}]}"#,
        ),
        host("refused-35", r#""ExtraHosts":["nosuch"]"#),
        host("refused-36", r#""ExtraHosts":["a:nosuch"]"#),
        host("refused-37", r#""Dns":["nosuch"]"#),
        host("refused-38", r#""Annotations":{"":"x"}"#),
    ]
}

fn impossible_limits() -> Vec<Request> {
    vec![
        host("refused-39", r#""Memory":1"#),
        host("refused-40", r#""Memory":-1"#),
        host("refused-41", r#""Memory":67108864,"MemorySwap":33554432"#),
        host("refused-42", r#""MemorySwap":67108864"#),
        host("early-swap", r#""MemorySwap":-5"#),
        host("refused-44", r#""MemoryReservation":1"#),
        host("refused-45", r#""Memory":67108864,"MemoryReservation":134217728"#),
        host("refused-46", r#""MemorySwappiness":101"#),
        host("refused-47", r#""NanoCpus":99000000000"#),
        host("refused-48", r#""NanoCpus":-1"#),
        host("refused-49", r#""NanoCpus":1000000000,"CpuPeriod":100000"#),
        host("refused-50", r#""NanoCpus":1000000000,"CpuQuota":100000"#),
        host("refused-51", r#""CpuShares":-1"#),
        host("refused-52", r#""CpuPeriod":10"#),
        host("refused-53", r#""CpuPeriod":-1"#),
        host("refused-54", r#""CpuQuota":10"#),
        host("refused-55", r#""CpusetCpus":"99""#),
        host("refused-56", r#""CpusetCpus":"a""#),
        host("refused-57", r#""CpusetMems":"99""#),
        host("refused-58", r#""CpusetMems":"a""#),
        host("refused-59", r#""OomScoreAdj":2000"#),
        host("refused-60", r#""ShmSize":-1"#),
        host("later-weight", r#""BlkioWeight":5"#),
        host("refused-62", r#""Ulimits":[{"Name":"nosuch","Soft":1,"Hard":1}]"#).unseen(),
        host("refused-63", r#""CpuRealtimePeriod":1000,"CpuRealtimeRuntime":2000"#),
        host("refused-64", r#""PidsLimit":"x""#),
        host(
            "refused-65",
            r#""Devices":[{"PathOnHost":"/nosuch","PathInContainer":"/x","CgroupPermissions":"z"}]"#,
        ),
        host("refused-66", r#""DeviceCgroupRules":["nosuch"]"#),
        host("later-cpu-count", r#""CpuCount":1"#),
        host("later-cpu-percent", r#""CpuPercent":10"#),
        host("later-iops", r#""IOMaximumIOps":10"#),
        host("refused-70", r#""KernelMemory":1"#),
    ]
}

fn impossible_places() -> Vec<Request> {
    vec![
        host("fault-relative", r#""Binds":["relative:x"]"#),
        host("fault-mode", r#""Binds":["/nosuch-path:/x:nosuch"]"#),
        host("fault-parts", r#""Binds":["a:b:c:d"]"#),
        host("fault-empty", r#""Binds":[""]"#),
        host("refused-71", r#""Binds":["/etc:/x","/tmp:/x"]"#),
        host("fault-root", r#""Binds":["/etc:/"]"#),
        mount("early-below-1", r#""BindOptions":{"ReadOnlyForceRecursive":true}"#),
        mount(
            "early-below-2",
            r#""ReadOnly":true,"BindOptions":{"ReadOnlyNonRecursive":true,"ReadOnlyForceRecursive":true}"#,
        ),
        host("refused-73", r#""Mounts":[{"Type":"nosuch","Target":"/x"}]"#),
        host(
            "refused-74",
            r#""Mounts":[{"Type":"bind","Source":"/nosuch-path","Target":"/x"}]"#,
        ),
        host(
            "refused-75",
            r#""Mounts":[{"Type":"bind","Source":"relative","Target":"/x"}]"#,
        ),
        host("refused-76", r#""Mounts":[{"Type":"bind","Target":"/x"}]"#),
        host("refused-77", r#""Mounts":[{"Type":"bind","Source":"/etc"}]"#),
        host(
            "refused-78",
            r#""Mounts":[{"Type":"bind","Source":"/etc","Target":"x"}]"#,
        ),
        host(
            "refused-79",
            r#""Mounts":[{"Type":"bind","Source":"/etc","Target":"/x","VolumeOptions":{}}]"#,
        ),
        host(
            "refused-80",
            r#""Mounts":[{"Type":"tmpfs","Source":"x","Target":"/x"}]"#,
        ),
        host(
            "refused-81",
            r#""Mounts":[{"Type":"tmpfs","Target":"/x","TmpfsOptions":{"SizeBytes":-1}}]"#,
        ),
        host(
            "refused-82",
            r#""Mounts":[{"Type":"volume","Source":"a/b","Target":"/x"}]"#,
        ),
        host("refused-83", r#""Tmpfs":{"relative":""}"#),
        host("refused-84", r#""Tmpfs":{"/x":"nosuch=1"}"#),
        host("refused-85", r#""VolumesFrom":["nosuch"]"#),
        host("refused-86", r#""VolumesFrom":["one:nosuch"]"#),
        host("refused-87", r#""Links":["nosuch:x"]"#),
        host("refused-88", r#""PortBindings":{"x/tcp":[{"HostPort":"1"}]}"#),
        host("refused-89", r#""PortBindings":{"80/tcp":[{"HostPort":"x"}]}"#),
        host("refused-90", r#""PortBindings":{"80/tcp":[{"HostPort":"99999"}]}"#),
        host(
            "early-address",
            r#""PortBindings":{"80/tcp":[{"HostIp":"nosuch","HostPort":"1"}]}"#,
        )
        .unseen(),
        create("early-root", r#""Volumes":{"/":{}}"#),
    ]
}

fn not_yet() -> Vec<Request> {
    let later = |name: &str, fields: &str| host(&format!("later-{name}"), fields).unseen();
    vec![
        later(
            "restart",
            r#""RestartPolicy":{"Name":"on-failure","MaximumRetryCount":3}"#,
        ),
        later("log", r#""LogConfig":{"Type":"local"}"#),
        later(
            "log-option",
            r#""LogConfig":{"Type":"json-file","Config":{"max-size":"10m"}}"#,
        ),
        host("init", r#""Init":true"#),
        later("blkio", r#""BlkioWeight":300"#),
        later(
            "blkio-device",
            r#""BlkioDeviceReadBps":[{"Path":"/dev/null","Rate":1000}]"#,
        ),
        host("ipc-container", r#""IpcMode":"container:one""#),
        host("pid-container", r#""PidMode":"container:one""#),
        create(
            "later-health",
            r#""Healthcheck":{"Test":["CMD","true"],"Interval":1000000000}"#,
        )
        .unseen(),
    ]
}

fn inspections() -> Vec<Request> {
    vec![
        get("/containers/plain/json"),
        get("/containers/plain/json?size=1"),
        get("/containers/plain/json?size=false"),
        get("/containers/{unnamed}/json"),
        get("/containers/nosuch/json"),
        get("/containers//json"),
        get("/containers/%20/json"),
        get("/containers/%2Fplain/json"),
        get("/containers/nosuch/json?size=1"),
    ]
}
