"""Two Ray nodes of one core each. A line on standard input kills the second node; the end of the input ends both."""

import sys

from ray.cluster_utils import Cluster

STORE = {"num_cpus": 1, "object_store_memory": 100 << 20}

cluster = Cluster(initialize_head=True, head_node_args={**STORE, "include_dashboard": False})
second = cluster.add_node(**STORE)
cluster.wait_for_nodes()
print("address", cluster.address, flush=True)
for _ in sys.stdin:
    cluster.remove_node(second, allow_graceful=False)
    print("killed", flush=True)
cluster.shutdown()
