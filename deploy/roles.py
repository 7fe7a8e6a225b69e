"""The roles, with every attribute, password, membership and setting as the inventory declares them.

Their shares of the server's connections follow from how many the machine has memory for.
"""

from pyinfra import host

from deploy.operations import declared_roles
from deploy.operations.declared_roles import Role
from deploy.operations.machine import connection_limits

if "database" in host.groups:
    data = host.data
    limits = connection_limits()

    declared_roles.present(
        name="Make the roles as declared",
        roles=[
            Role(**data.postgres_superuser),
            *(Role(**role, connection_limit=limits[role["name"]]) for role in data.postgres_roles),
        ],
        cluster=data.postgres_cluster,
    )
