#!/usr/bin/env python3
"""Whether Compose, systemd and Helm deploy the same cluster: processes, commands, ports, settings, memory, time to stop,
probes, read from each and compared; and whether `saker` takes the settings of every process of each.

  compare.py --saker SAKER --compose PROJECT.json --helm RENDERED.yaml --helm-standalone RENDERED.yaml --systemd DIR

PROJECT.json is what check/compose prints; DIR has a root directory for each host, as systemd/install.sh writes them, and
`standalone`. The last line is "N passed, M failed".
"""

import argparse
import copy
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import yaml

DEPLOY = Path(__file__).resolve().parents[1]
ROLES = {"proxy": 2, "mixcoord": 2, "datanode": 2, "querynode": 3, "indexnode": 1}
SERVERS = {"etcd": 3, "kafka": 3, "s3": 1}
# What docs/etcd.md and docs/kafka.md ask for, whatever the three agree on.
ETCD_MUST = {"ETCD_CLIENT_CERT_AUTH": "true", "ETCD_PEER_CLIENT_CERT_AUTH": "true", "ETCD_QUOTA_BACKEND_BYTES": "2147483648",
             "ETCD_AUTO_COMPACTION_MODE": "periodic", "ETCD_AUTO_COMPACTION_RETENTION": "1h",
             "ETCD_LISTEN_CLIENT_URLS": "https://0.0.0.0:2379", "ETCD_LISTEN_PEER_URLS": "https://0.0.0.0:2380"}
KAFKA_MUST = {"default.replication.factor": "3", "min.insync.replicas": "2", "unclean.leader.election.enable": "false",
              "auto.create.topics.enable": "false"}
# Who a member is: differs by nature.
OWN = {"ETCD_NAME", "ETCD_DATA_DIR", "ETCD_INITIAL_CLUSTER", "ETCD_ADVERTISE_CLIENT_URLS", "ETCD_INITIAL_ADVERTISE_PEER_URLS"}
SECRETS = {"MINIO_ACCESSKEYID", "MINIO_SECRETACCESSKEY", "ROOT_ACCESS_KEY", "ROOT_SECRET_KEY"}


def env_lines(text):
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def seconds(text):
    units = {"h": 3600, "m": 60, "s": 1, "": 1}
    return int(sum(float(n) * units[u] for n, u in re.findall(r"([\d.]+)([hms]?)", str(text))))


def mebibytes(text):
    number, unit = re.fullmatch(r"(\d+)(G|Gi|M|Mi)?", str(text)).groups()
    return int(number) * {"G": 1024, "Gi": 1024, "M": 1, "Mi": 1}[unit] if unit else int(number) >> 20


def process(argv, env, memory=None, grace=None, ports=(), files=None, identity=None, always=True):
    return {"argv": argv, "env": env, "memory": memory, "grace": grace, "ports": sorted(ports), "files": files or {},
            "identity": identity, "always": always}


# ---- reading each: component → list of processes


def from_compose(project):
    out = {}
    for name, service in project["services"].items():
        component = name.rstrip("0123456789") if not name.startswith("s3") else "s3"
        files = {Path(v["target"]).name: Path(v["source"]).read_text() for v in service.get("volumes", [])
                 if v["type"] == "bind" and Path(v["source"]).is_file()}
        ports = [int(p["target"]) for p in service.get("ports", [])]
        out.setdefault(component, []).append(process(
            service.get("command") or service["entrypoint"], service.get("environment") or {},
            mebibytes(service["mem_limit"]) if "mem_limit" in service else None, seconds(service["stop_grace_period"]), ports,
            files, name, service.get("restart") == "always"))
        out[component][-1]["image"] = service["image"]
        out[component][-1]["probe"] = (service.get("healthcheck") or {}).get("test")
    return out


def from_systemd(root):
    out = {}
    for host in sorted(p for p in root.iterdir() if p.is_dir()):
        units = host / "etc/systemd/system"
        enabled = (root / f"{host.name}.enable").read_text().split()[3:]
        for unit in enabled:
            component, instance = unit.removesuffix(".service"), ""
            if "@" in component:
                component, instance = component.split("@")
                paths = [units / f"{component}@.service", units / f"{component}@{instance}.service.d/memory.conf"]
                component = instance
            else:
                component = component.removeprefix("saker-")
                paths = [units / unit]
            settings, env = {}, {}
            for line in "\n".join(p.read_text() for p in paths).splitlines():
                key, equals, value = line.replace("%i", instance).partition("=")
                if not equals or line.startswith("#"):
                    continue
                if key == "EnvironmentFile":
                    env.update(env_lines((host / value.lstrip("/")).read_text()))
                elif key == "Environment":
                    env.update([value.split("=", 1)])
                settings[key] = value
            argv = [re.sub(r"\$\{(\w+)\}", lambda m: env[m[1]], word) for word in shlex.split(settings["ExecStart"])]
            files = {p.name: p.read_text() for p in (host / "etc/saker").iterdir() if p.suffix in (".yaml", ".properties")}
            if (host / "usr/lib/saker/kafka.sh").exists():
                files["kafka.sh"] = (host / "usr/lib/saker/kafka.sh").read_text()
            out.setdefault(component, []).append(process(
                argv, env, mebibytes(settings["MemoryMax"]) if "MemoryMax" in settings else None,
                int(settings["TimeoutStopSec"]) if "TimeoutStopSec" in settings else None, (), files, f"{host.name}",
                settings.get("Restart") == "always"))
    return out


def from_helm(documents):
    out = {}
    config = next((d["data"] for d in documents if d["kind"] == "ConfigMap"), {})
    secrets = {d["metadata"]["name"]: d for d in documents if d["kind"] == "Secret"}
    for document in documents:
        if document["kind"] not in ("StatefulSet", "Deployment"):
            continue
        spec = document["spec"]
        pod = spec["template"]
        component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
        container = pod["spec"]["containers"][0]
        for n in range(spec.get("replicas", 1)):
            env = {}
            pod_name = f"{document['metadata']['name']}-{n}"
            for variable in container.get("env", []):
                value = variable.get("value", {"metadata.name": pod_name, "status.podIP": "10.0.0.1"}.get(
                    variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")))
                env[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda m: env[m[1]], value)
            for source in container.get("envFrom", []):
                env.update(dict.fromkeys(secrets[source["secretRef"]["name"]]["data"], "x"))
            if component == "kafka":
                env["KAFKA_NODE_ID"] = str(int(pod_name.rsplit("-", 1)[1]) + 1)
            argv = container.get("command", []) + container.get("args", [])
            out.setdefault(component, []).append(process(
                argv, env, mebibytes(container["resources"]["limits"]["memory"]), pod["spec"].get("terminationGracePeriodSeconds"),
                [p["containerPort"] for p in container.get("ports", [])], dict(config), pod_name))
            out[component][-1]["image"] = container["image"]
            out[component][-1]["probe"] = [container.get(p, {}).get("httpGet", {}).get("path") for p in ("livenessProbe", "readinessProbe")]
    return out


# ---- what they have to agree on


def saker_words(argv):
    """A command as words that mean the same everywhere: without the program, and with the port of health and the data
    directory left out where hosts are shared."""
    words = argv[argv.index("/usr/bin/saker") + 1:] if "/usr/bin/saker" in argv else list(argv)
    for option in ("--http", "--data"):
        if option in words:
            words[words.index(option) + 1] = "*"
    return words


def summary(deployment):
    out = {}
    for component, processes in deployment.items():
        first = processes[0]
        said = out[component] = {"count": len(processes), "memory": {p["memory"] for p in processes},
                                 "grace": {p["grace"] for p in processes},
                                 "restarted": {p["always"] for p in processes}}
        settings = {}
        if component == "etcd":
            settings = {k: v for k, v in first["env"].items() if k not in OWN}
            said["members"] = {len(p["env"]["ETCD_INITIAL_CLUSTER"].split(",")) for p in processes}
            said["names"] = len({p["env"]["ETCD_NAME"] for p in processes})
            said["every member is in the list"] = all(
                f"{p['env']['ETCD_NAME']}={p['env']['ETCD_INITIAL_ADVERTISE_PEER_URLS']}" in p["env"]["ETCD_INITIAL_CLUSTER"].split(",")
                for p in processes)
        elif component == "kafka":
            settings = env_lines(first["files"]["kafka.properties"])
            said["start"] = first["files"]["kafka.sh"]
            said["cluster"] = {p["env"]["KAFKA_CLUSTER_ID"] for p in processes}
            said["ids"] = {p["env"]["KAFKA_NODE_ID"] for p in processes}
            said["every broker is a voter"] = all(
                f"{p['env']['KAFKA_NODE_ID']}@{p['env']['KAFKA_HOST']}:9093" in p["env"]["KAFKA_VOTERS"].split(",") for p in processes)
        elif component == "s3":
            settings = {k: v for k, v in first["env"].items() if k not in SECRETS}
            said["command"] = [w for w in first["argv"] if not w.startswith("/")]
        else:
            said["command"] = [saker_words(p["argv"]) for p in processes]
            said["file"] = first["files"]["saker.yaml"]
            if component != "standalone":
                said["etcd endpoints"] = {re.sub(r"//[^:]+:", "//*:", p["env"]["ETCD_ENDPOINTS"]) for p in processes}
                said["brokers"] = {re.sub(r"[^,:]+:", "*:", p["env"]["KAFKA_BROKERLIST"]) for p in processes}
                said["s3"] = {p["env"]["MINIO_PORT"] for p in processes}
                said["secrets"] = sorted(SECRETS & set(first["env"]))
        said["settings"] = settings
    return out


def differences(name, mine, other_name, other):
    out = []
    for component in sorted(set(mine) | set(other)):
        a, b = mine.get(component), other.get(component)
        if a is None or b is None:
            out.append(f"{component}: only in {name if b is None else other_name}")
            continue
        for key in sorted(set(a) | set(b)):
            if a.get(key) != b.get(key):
                out.append(f"{component}, {key}: {name} has {a.get(key)}, {other_name} has {b.get(key)}")
    return out


def requirements(name, said):
    """What each has to have, whatever the others have."""
    out = []
    for component, count in {**ROLES, **SERVERS, "standalone": 1}.items():
        have = said.get(component, {}).get("count", 0)
        if have != count:
            out.append(f"{name}: {have} of {component}, not {count}")
    for component, must in (("etcd", ETCD_MUST), ("kafka", KAFKA_MUST)):
        for key, value in must.items():
            have = said[component]["settings"].get(key)
            if have != value:
                out.append(f"{name}: {component} has {key}={have}, not {value}")
    if said["etcd"]["members"] != {3} or said["etcd"]["names"] != 3 or not said["etcd"]["every member is in the list"]:
        out.append(f"{name}: etcd's members don't know each other: {said['etcd']}")
    if said["kafka"]["ids"] != {"1", "2", "3"} or not said["kafka"]["every broker is a voter"]:
        out.append(f"{name}: Kafka's brokers don't know each other: {said['kafka']}")
    return out


def accepted(name, deployment, saker):
    """Every process's settings, given to `saker ... --check` as the process gets them."""
    out, checked = [], 0
    for component, processes in deployment.items():
        if component not in ROLES and component != "standalone":
            continue
        for p in processes:
            words = p["argv"][p["argv"].index("/usr/bin/saker") + 1:] if "/usr/bin/saker" in p["argv"] else list(p["argv"])
            words[words.index("--config") + 1] = str(DEPLOY / "saker.yaml")
            env = {"PATH": os.environ["PATH"], **{k: str(v) for k, v in p["env"].items()}}
            run = subprocess.run([saker, *words, "--check"], env=env, capture_output=True, text=True, timeout=20)
            checked += 1
            if run.returncode != 0:
                out.append(f"{name}: {p['identity']} {component}: {run.stderr.strip()}")
    return out, checked


def port_clashes(deployment):
    """Of systemd, where several processes share a host."""
    listens = yaml.safe_load((DEPLOY / "saker.yaml").read_text())
    sections = {"datanode": "dataNode", "querynode": "queryNode", "indexnode": "indexNode", "mixcoord": "rootCoord"}
    out, used = [], {}
    for component, processes in deployment.items():
        for p in processes:
            ports = {"etcd": [2379, 2380, 2381], "kafka": [9092, 9093], "s3": [7070]}.get(component)
            if ports is None:
                ports = [int(p["argv"][p["argv"].index("--http") + 1].rsplit(":", 1)[1])]
                if component in sections:
                    ports.append(listens[sections[component]]["port"])
                if component in ("proxy", "standalone"):
                    ports.append(listens["proxy"]["port"])
                if component == "proxy":
                    ports.append(listens["proxy"]["internalPort"])
            for port in ports:
                other = used.setdefault((p["identity"], port), component)
                if other != component:
                    out.append(f"systemd: {component} and {other} both listen on port {port} of {p['identity']}")
    return out


def probes(name, deployment):
    out = []
    for component in (*ROLES, "standalone"):
        for p in deployment[component]:
            want = ["/livez", "/readyz"] if name == "helm" else ["CMD", "/usr/bin/saker-ready", "/livez"]
            if p["probe"] != want:
                out.append(f"{name}: {p['identity']} is probed with {p['probe']}, not {want}")
    return out


def helm_has(documents):
    """What only Kubernetes has: budgets for what there is several of, stable storage for caches, ports that exist."""
    out = []
    kinds = {}
    for d in documents:
        kinds.setdefault(d["kind"], {})[d["metadata"]["labels"]["app.kubernetes.io/component"]] = d
    several = {c for c, n in {**ROLES, **SERVERS}.items() if n > 1}
    if set(kinds["PodDisruptionBudget"]) != several:
        out.append(f"helm: budgets for {sorted(kinds['PodDisruptionBudget'])}, not {sorted(several)}")
    stateful = {"etcd", "kafka", "s3", "datanode", "querynode", "indexnode"}
    if set(kinds["StatefulSet"]) != stateful:
        out.append(f"helm: StatefulSets {sorted(kinds['StatefulSet'])}, not {sorted(stateful)}")
    listens = yaml.safe_load((DEPLOY / "saker.yaml").read_text())
    want = {"proxy": listens["proxy"]["internalPort"], "mixcoord": listens["rootCoord"]["port"], "datanode": listens["dataNode"]["port"],
            "querynode": listens["queryNode"]["port"], "indexnode": listens["indexNode"]["port"]}
    for role, port in want.items():
        workload = kinds["StatefulSet"].get(role) or kinds["Deployment"][role]
        spec = workload["spec"]["template"]["spec"]
        if {"name": "internal", "containerPort": port} not in spec["containers"][0]["ports"]:
            out.append(f"helm: {role} says its internal port is another than {port}, which it listens on")
        if spec["enableServiceLinks"]:
            out.append(f"helm: {role} gets service links, whose variables are names of settings")
        if "podAntiAffinity" not in spec["affinity"]:
            out.append(f"helm: {role} has no anti-affinity")
    return out


def finds_differences(said):
    """That the comparison can fail: a change of each kind in one deployment is seen."""
    def changed(change):
        copy_ = copy.deepcopy(said)
        change(copy_)
        return copy_

    changes = [lambda s: s["querynode"].update(count=2), lambda s: s.pop("indexnode"),
               lambda s: s["etcd"]["settings"].update(ETCD_QUOTA_BACKEND_BYTES="1"),
               lambda s: s["kafka"]["settings"].update({"min.insync.replicas": "1"}),
               lambda s: s["proxy"].update(file="proxy: {}"), lambda s: s["datanode"].update(memory={1}),
               lambda s: s["mixcoord"].update(grace={1}), lambda s: s["proxy"]["command"][0].append("--listen"),
               lambda s: s["datanode"].update(brokers={"*:9092"})]
    return [f"change {n} of the comparison's own test was not seen" for n, change in enumerate(changes)
            if not differences("a", said, "b", changed(change))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("saker", "compose", "helm", "helm-standalone", "systemd"):
        parser.add_argument(f"--{option}", type=Path, required=True)
    args = parser.parse_args()
    rendered = [d for d in yaml.safe_load_all(args.helm.read_text()) if d]
    alone = [d for d in yaml.safe_load_all(args.helm_standalone.read_text()) if d]
    deployments = {"compose": from_compose(json.loads(args.compose.read_text())),
                   "helm": {**from_helm(rendered), **from_helm(alone)}, "systemd": from_systemd(args.systemd)}
    said = {name: summary(deployment) for name, deployment in deployments.items()}
    results = [("the comparison sees changes", finds_differences(said["compose"]))]
    for name in deployments:
        results.append((f"{name} has what is asked for", requirements(name, said[name])))
        wrong, checked = accepted(name, deployments[name], args.saker)
        results.append((f"saker takes the settings of all {checked} processes of {name}", wrong))
    results += [("compose and helm say the same", differences("compose", said["compose"], "helm", said["helm"])),
                ("compose and systemd say the same", differences("compose", said["compose"], "systemd", said["systemd"])),
                ("no two processes of a host share a port", port_clashes(deployments["systemd"])),
                ("compose and helm start the same images", [
                    f"{c}: {a[0]['image']} and {deployments['helm'][c][0]['image']}" for c, a in deployments["compose"].items()
                    if c in deployments["helm"] and a[0]["image"] != deployments["helm"][c][0]["image"]]),
                ("compose's processes are probed", probes("compose", deployments["compose"])),
                ("helm's processes are probed", probes("helm", deployments["helm"])),
                ("helm's budgets, storage and ports", helm_has(rendered))]
    for what, wrong in results:
        print(f"{'ok    ' if not wrong else 'WRONG '} {what}")
        for line in wrong:
            print(f"         {line}")
    failed = sum(bool(wrong) for _, wrong in results)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
