"""The end of a deployment of three hosts: servers that await a restart get it in turn, and another member has led.

Members get the program, too, for 'callytics cluster'.
"""

import hashlib
import json
from pathlib import Path

from pyinfra import host

from deploy.operations.failover import patroni
from deploy.operations.hosts import wait_for_each_other
from deploy.operations.program import beside_the_database

if "cluster" in host.groups:
    data = host.data
    place = patroni.Place(data.postgres_cluster, data.cluster_patroni_settings_folder, data.cluster_patroni_folder)
    made = [data.cluster_members, data.cluster_patroni, data.postgres_access, data.cluster_dynamic]

    beside_the_database("cluster")
    wait_for_each_other(name="Wait until every member has its settings")
    patroni.healthy(name="See that every member follows the one that leads", place=place)
    patroni.restarted(name="Restart the servers that await it, one after another", place=place, _run_once=True)
    patroni.proven(
        name="See another member lead",
        place=place,
        note=Path(data.deploy_folder, "patroni", "proven"),
        digest=hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest(),
        _run_once=True,
    )
