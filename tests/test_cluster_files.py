"""The files of docs/cluster: their syntax, and that they keep the promises of docs/cluster.md. What runs is tested in
tests/search/test_cluster_search.py."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

DOCS = Path(__file__).resolve().parents[1] / "docs"
FILES = sorted((DOCS / "cluster").iterdir())


def test_every_file_is_named_in_the_text_and_is_there():
    text = (DOCS / "cluster.md").read_text()
    named = set(re.findall(r"(?:docs/)?cluster/([\w.-]+\.(?:sh|yaml|sbatch))", text))
    assert named == {path.name for path in FILES}


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix != ".yaml"], ids=lambda path: path.name)
def test_bash_can_read_it(path):
    assert subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False).stderr == ""


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".yaml"], ids=lambda path: path.name)
def test_yaml_can_read_it(path):
    assert all(yaml.safe_load_all(path.read_text()))


def test_the_rayjob_asks_for_a_token_and_shares_a_volume_and_is_closed_to_others():
    job, policy = yaml.safe_load_all((DOCS / "cluster/rayjob.yaml").read_text())
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for pod in pods:
        spec = pod["template"]["spec"]
        (container,) = spec["containers"]
        assert container["volumeMounts"] == [{"name": "shared", "mountPath": "/shared"}]
        assert spec["volumes"][0]["persistentVolumeClaim"]
    assert policy["kind"] == "NetworkPolicy"
    assert all(rule["from"] for rule in policy["spec"]["ingress"])


def test_ray_up_starts_the_nodes_by_the_same_scripts():
    up = yaml.safe_load((DOCS / "cluster/ray-up.yaml").read_text())
    assert up["provider"]["type"] == "local"
    assert f"head.sh {up['provider']['head_ip']}" in up["head_start_ray_commands"][-1]
    assert "node.sh $RAY_HEAD_IP:6379" in up["worker_start_ray_commands"][-1]
    assert len(up["provider"]["worker_ips"]) == up["max_workers"]


def test_nothing_stops_other_jobs_on_a_shared_node():
    script = (DOCS / "cluster/slurm.sbatch").read_text()
    commands = [line for line in script.splitlines() if not line.startswith("#")]
    assert not [line for line in commands if "ray stop" in line or "symmetric-run" in line]


def test_a_node_without_the_token_is_not_started(tmp_path):
    done = subprocess.run(
        ["bash", DOCS / "cluster/node.sh", "10.0.0.1:6379", "10.0.0.2"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Error: the cluster's token is not in" in done.stderr


def test_the_head_makes_a_token_for_its_owner_alone(tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ray").write_text('#!/bin/bash\necho "$@"\n')
    (programs / "ray").chmod(0o755)
    done = subprocess.run(
        ["bash", DOCS / "cluster/head.sh", "10.0.0.1"],
        env={"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    token = tmp_path / ".ray/auth_token"
    assert re.fullmatch("[0-9a-f]{64}", token.read_text())
    assert token.stat().st_mode & 0o077 == 0
    options = dict(re.findall(r"--([\w-]+)=(\S+)", done.stdout))
    assert options["dashboard-host"] == "127.0.0.1"
    ports = [int(value) for name, value in options.items() if name == "port" or name.endswith("-port")]
    assert len(ports) == 11
    assert min(ports) == 6379
    assert max(ports) == 7378, "the firewall line of docs/cluster.md"
