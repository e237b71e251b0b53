"""Code that a model wrote, judged in a pod: real compilers and tests, and known ways out of it, each tried from within."""

from __future__ import annotations

import json
from typing import Any

import yaml

from bench_runner.quality.code_checks import fixtures
from tests.cluster import images as image_builds
from tests.cluster.layout import TREE
from tests.support.lab import Lab

Object = dict[str, Any]
EXAMPLE = TREE / "deploy" / "examples" / "code-judge.yaml"
KNOWN = {each.name: each for each in fixtures()}
# says that it passed, and leaves a process that would say so of the next one too
HOSTILE = """<script setup lang="ts">
import { spawn } from "node:child_process"
import { writeFileSync } from "node:fs"
for (const path of ["/proc/1/fd/1", "/proc/1/mem", "/answers/answers.json", "/tools/x", "/opt/x"]) {
  try { writeFileSync(path, '{"mean": 10}') } catch {}
}
spawn("sh", ["-c", "while :; do echo forged > /tmp/check/report.json; done"], { detached: true, stdio: "ignore" }).unref()
</script>
<template><p>hello</p></template>
"""
# a program each; it prints what it got, and "blocked" where it got nothing
ESCAPES = {
    "network": "import socket\nsocket.create_connection(('198.18.0.1', 6443), 3)",
    "names": "import socket\nsocket.getaddrinfo('kubernetes.default.svc', 443)",
    "raw": "import socket\nsocket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "root": "open('/opt/x', 'w')",
    "tools": "open('/tools/x', 'w')",
    "device": "import os\nos.mknod('/tmp/sda', 0o60666, os.makedev(8, 0))",
    "judge's memory": "open('/proc/1/mem', 'r+b')",
    "judge's output": "open('/proc/1/fd/1', 'w')",
    "judge's environment": "open('/proc/1/environ').read()",
    "judge's life": "import os, signal\nos.kill(1, signal.SIGKILL)\nopen('/opt/x', 'w')",
    "judge's patience": "import os, signal\nos.kill(1, signal.SIGINT)\nopen('/opt/x', 'w')",
    "other signals": "import os\nfor number in range(1, 64):\n    if number not in (32, 33): os.kill(1, number)\nopen('/opt/x', 'w')",
    "a trap": "import os\nos.makedirs('/tmp/node_modules/typescript')\nopen('/tmp/node_modules/typescript/index.js', 'w').write('x')\nos.chmod('/tmp/node_modules/typescript', 0o555)\nos.chmod('/tmp/node_modules', 0)\nopen('/opt/x', 'w')",
    "its own folder": "import os\nhere = os.getcwd()\nos.rename(here, '/tmp/y')\nos.symlink('/answers', here)\nopen('/opt/x', 'w')",
    "shared memory": "open('/dev/shm/x', 'w').write('x')\nopen('/opt/x', 'w')",
    "trace": "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\nassert libc.ptrace(16, 1, 0, 0) == 0",
    "namespaces": "import os\nos.unshare(0x10000000)",
    "mount": "import ctypes\nassert ctypes.CDLL(None).mount(b't', b'/tmp', b'tmpfs', 0, b'') == 0",
    "root user": "import os\nos.setuid(0)",
    "host name": "import socket\nsocket.sethostname('x')",
    "memory": "import mmap\nkept = [bytearray(50_000_000) for _ in range(60)]",
    "large file": "f = open('/tmp/large', 'wb')\nfor _ in range(400): f.write(bytes(10**6)); f.flush()",
    "processes": "import os, time\nfor _ in range(2000):\n    if os.fork() == 0: time.sleep(60); os._exit(0)",
}
NOT_PYTHON = {"time": "import time\ntime.sleep(60)", "output": "while True: print('x' * 10**6)"}
DRIVER = """
import json, os, sys
from dataclasses import asdict
from bench_runner.quality.sandbox import Walls, sandboxed
walls = Walls(seconds=8, memory_bytes=400_000_000, processes=64, disk_bytes=100_000_000, output_bytes=100_000)
found = {}
for name, program in json.load(open("/answers/answers.json")).items():
    tail = "import traceback\\ntry:\\n    " + program.replace("\\n", "\\n    ") + "\\nexcept BaseException as exc:\\n    print('blocked', type(exc).__name__)\\nelse:\\n    print('came through')"
    ran = sandboxed(["/usr/bin/python3", "-c", tail], {}, walls)
    found[name] = {"code": ran.code, "out": ran.out.decode("utf-8", "replace")[:200], "err": ran.err.decode("utf-8", "replace")[-200:], "ended": ran.ended}
    found[name]["left"] = sorted(set(os.listdir("/tmp")) | set(os.listdir("/dev/shm"))), [each for each in os.listdir("/proc") if each.isdigit() and each != "1"]
print(json.dumps(found))
"""


def judged(lab: Lab, name: str, answers: Object, **container: Any) -> str:
    """What the example's Job says of such answers."""
    image = image_builds.quality(lab.cluster)
    policy, job = yaml.safe_load_all(EXAMPLE.read_text().replace("REGISTRY/tokenmark-quality:0.1.0", image))
    job["metadata"]["name"] = name
    job["spec"]["template"]["spec"]["containers"][0] |= {"imagePullPolicy": "IfNotPresent", **container}
    data = {"answers.json": json.dumps(answers)}
    lab.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code-answers"}, "data": data}, policy, job
    )
    lab.until(
        "it is over",
        lambda: any(c["status"] == "True" for c in (lab.get("job", name) or {})["status"].get("conditions", [])),
        240,
    )
    return lab.kubectl("logs", f"job/{name}")


def test_a_pod_without_a_network_judges_as_a_laptop_does_and_what_is_hostile_forges_nothing(lab: Lab) -> None:
    written = [{"fixture": name, "run": 0, "component": each.expected} for name, each in KNOWN.items()]
    written.insert(1, {"fixture": "counter", "run": 1, "component": HOSTILE})
    said = judged(
        lab,
        "code-judge",
        {"schema_version": "code-answers/v1", "model": "m", "started_at": "2030-01-01T00:00:00Z", "answers": written},
    )
    result = json.loads(said)
    scores = {(each["fixture"], each["run"]): each["score"] for each in result["answers"]}
    assert {key: score for key, score in scores.items() if key[1] == 0} == {(name, 0): 10 for name in KNOWN}
    assert scores["counter", 1] < 2
    assert "forged" not in said


def test_known_ways_out_of_the_pod_are_closed(lab: Lab) -> None:
    command = ["/opt/tokenmark/bin/python", "-c", DRIVER]
    found = json.loads(judged(lab, "escapes", {**ESCAPES, **NOT_PYTHON}, command=command, args=[]))
    for name in ESCAPES:
        ran = found[name]
        assert "came through" not in ran["out"], (name, ran)
        assert "blocked" in ran["out"] or ran["ended"] or ran["code"], (name, ran)
    assert found["time"]["ended"] == "it took longer than 8 s"
    assert found["output"]["ended"] == "it said more than 100,000 bytes"
    assert {name: ran["left"] for name, ran in found.items() if ran["left"] != [[], []]} == {}, (
        "nothing stays for the next"
    )


def test_a_pod_that_is_no_wall_judges_nothing(lab: Lab) -> None:
    loose = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": False}
    answers = {
        "schema_version": "code-answers/v1",
        "model": "m",
        "started_at": "t",
        "answers": [{"fixture": "counter", "run": 0, "component": "x"}],
    }
    said = judged(lab, "loose", answers, securityContext=loose)
    assert "this pod is no sandbox; it lacks: a root file system that cannot be written" in said
