"""The roles, with exactly the attributes, passwords, memberships and settings that deploy/policy.py declares.

Their connection limits follow from how many connections the machine has memory for.
"""

from pyinfra import host

from deploy.operations.cluster import declared_roles
from deploy.operations.cluster.declared_roles import Role
from deploy.operations.cluster.machine import connection_limits

if "database" in host.groups:
    data = host.data
    limits = connection_limits()

    declared_roles.present(
        name="Make the roles as declared",
        roles=[
            # Declared too, so that a password or a setting that somebody gave the superuser goes.
            Role(**data.postgres_superuser),
            *(Role(**role, connection_limit=limits[role["name"]]) for role in data.postgres_roles),
        ],
        cluster=data.postgres_cluster,
    )
