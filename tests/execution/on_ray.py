"""A cluster of two nodes on this machine; writes what `test_ray` looks at into its second argument, a folder."""

import json
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.cluster_utils import Cluster

here, folder = Path(sys.argv[1]), Path(sys.argv[2])
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
second = cluster.add_node(num_cpus=1)
cluster.connect(namespace="asiarc")

from asiarc.core.errors import ExecutionError  # noqa: E402
from asiarc.engineer.workshop import VERSIONS  # noqa: E402
from asiarc.execution import InlineExecutor, Job, Limits, LocalExecutor  # noqa: E402
from asiarc.execution import ray as on_ray  # noqa: E402
from asiarc.execution.round import Round  # noqa: E402
from asiarc.tasks import get_task, opened  # noqa: E402
from tests.rigs.sandbox.attacks import MODULE  # noqa: E402

jobs = [
    *(Job("sandbox_jobs:allocate", {"bytes": 10 + i}) for i in range(4)),
    Job("sandbox_jobs:fails_like_a_user", {}),
    Job(f"{MODULE}:loops_in_python", {}, Limits(wall_s=0.3)),
    Job(f"{MODULE}:fork_bombs", {}),
]
shown = {}


def write_pages(pages):
    """Parquet files in FineWeb-Edu's layout."""
    pages.mkdir()
    texts = [f"{i} rivers and {i * i} stones were counted by {i % 7}." * 3 for i in range(400)]
    pq.write_table(pa.table({"text": texts}), pages / "000_00000.parquet", row_group_size=100)


with LocalExecutor(2, preload=(MODULE,), readable=[here]) as local:
    shown["local"] = [(r.status, r.value, r.reason) for r in local.run(jobs)]
delivered = []
with on_ray.RayExecutor(versions=VERSIONS, preload=(MODULE,), readable=[here, folder]) as executor:
    shown["workers"] = executor.most_workers
    results = executor.run(jobs, lambda index, result: delivered.append(index))
    shown["ray"] = [(r.status, r.value, r.reason) for r in results]
    shown["layers"] = results[0].layers
    shown["delivered"] = sorted(delivered)

    lost, forget = [], Round.lost
    Round.lost = lambda self, index, reason: lost.append(reason) or forget(self, index, reason)

    def lose_a_node():
        while len(executor._busy) < 2:  # one job on each node
            ended.wait(0.05)
        cluster.remove_node(second, allow_graceful=False)
        while not lost:  # its job must not end before it does
            ended.wait(0.05)
        (folder / "go").touch()

    ended, killer = threading.Event(), threading.Thread(target=lose_a_node, daemon=True)
    wait = Job("sandbox_jobs:wait_for", {"path": str(folder / "go")})
    killer.start()
    shown["after a loss"] = [r.status for r in executor.run([wait, wait, *jobs[:3]])]
    killer.join()
    shown["lost"] = lost

with on_ray.RayExecutor(versions=VERSIONS, preload=(), readable=[here], gpus_per_job=1) as executor:
    try:
        executor.run(jobs[:1])
    except ExecutionError as error:
        shown["no room"] = str(error)
third = cluster.add_node(num_cpus=2, num_gpus=2, env_vars={"ASIARC_CACHE": str(folder / "elsewhere")})
cluster.wait_for_nodes()
with on_ray.RayExecutor(versions=VERSIONS, preload=(), readable=[here, folder], gpus_per_job=1) as executor:
    devices = Job("sandbox_jobs:device", {"path": str(folder / "both")})

    def both_there():
        while len(executor._busy) < 2:
            ended.wait(0.05)
        (folder / "both").touch()

    killer = threading.Thread(target=both_there, daemon=True)
    killer.start()
    shown["devices"] = [r.value for r in executor.run([devices, devices])]
    killer.join()

    large = {
        "mixer": "delta_net", "task": "text", "seed": "0/verify/0", "recipe": "micro", "by": ["ddp"],
        "processes": 2, "steps": 2, "batch_size": 4,
    }  # fmt: skip
    job = Job("asiarc.engineer.large:launch", large)
    found = executor.run_large(job, 2)
    shown["large"] = [found.status, found.reason, found.value]
    shown["large here"] = InlineExecutor().run([job])[0].value
    try:
        executor.run_large(job, 3)
    except ExecutionError as error:
        shown["too large"] = str(error)

    (folder / "book.txt").write_text("\n\n".join(f"{i} times {i} are {i * i}, said the book." * 3 for i in range(4000)))
    elsewhere = folder / "elsewhere" / "corpora"
    before = {*elsewhere.iterdir()}  # the large trial's text
    own = opened("text:book.txt", folder, build=True)
    shown["sent"] = get_task(own).content_hash
    reads = Job("sandbox_jobs:reads_text", {"task": own})
    write_pages(folder / "pages")
    task = get_task(opened(f"text:{folder / 'pages'}", folder, build=True))
    task.keep()
    shown["tokens sent"] = task.batch("train", 2, "seed", 1).targets_BT.tolist()
    dealt = executor.run([Job("sandbox_jobs:reads_tokens", {"task": task.name})])
    shown["tokens read"] = [(r.status, r.reason, r.value) for r in dealt]
    shown["read"] = [(r.status, r.reason, r.value) for r in executor.run([reads, reads])]
[kept] = {*elsewhere.iterdir()} - before
(kept / "train.txt").write_text("another text")
with on_ray.RayExecutor(versions=VERSIONS, preload=(), readable=[here, folder], gpus_per_job=1) as executor:
    shown["read where it was damaged"] = [(r.status, r.reason, r.value) for r in executor.run([reads])]
cluster.remove_node(third)

on_ray._answer = lambda function: {"python": "2.7"}  # here alone: a node asks its own
with on_ray.RayExecutor(versions=VERSIONS, preload=(), readable=[here]) as executor:
    shown["refused"] = [(r.status, r.reason) for r in executor.run(jobs[:1])]
(folder / "shown.json").write_text(json.dumps(shown))
ray.shutdown()
cluster.shutdown()
