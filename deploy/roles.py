"""The roles, with exactly the attributes, passwords, memberships and settings that deploy/policy.py declares.

Their connection limits follow from how many connections the machine has memory for.
"""

from pathlib import Path

from pyinfra import host

from deploy.operations.cluster import declared_roles
from deploy.operations.cluster.declared_roles import Role
from deploy.operations.cluster.machine import connection_limits
from deploy.operations.cluster.primary import on_the_primary
from deploy.operations.failover import patroni
from deploy.operations.secret import keys

if "database" in host.groups:
    data = host.data
    limits = connection_limits()
    members = data.cluster_roles if "cluster" in host.groups else {}
    passwords = {name: keys.KeptKey(Path(data.deploy_folder, name)) for name in members}

    for name, password in passwords.items():
        keys.kept(name=f"Make the password of {name}, on the control machine", key=password)

    declared_roles.present(
        name="Make the roles as declared",
        roles=[
            # Declared too, so that a password or a setting that somebody gave the superuser goes.
            Role(**data.postgres_superuser),
            *(Role(**role, connection_limit=limits[role["name"]]) for role in data.postgres_roles),
            *(Role(name, **role, password=passwords[name]) for name, role in members.items()),
        ],
        cluster=data.postgres_cluster,
        **on_the_primary(),
    )
    if members:
        patroni.may_rewind(name="Let a former primary be rewound", cluster=data.postgres_cluster, **on_the_primary())
