"""The roles, with every attribute, password, membership and setting as the inventory declares them.

Their shares of the server's connections follow from how many the machine has memory for.
"""

from pyinfra import host
from pyinfra.api.exceptions import PyinfraError

from deploy.operations import roles
from deploy.operations.connections import Demand
from deploy.operations.machine import Machine, server_settings

if "database" in host.groups:
    data = host.data
    demand = Demand(data.postgres_app_hosts, data.postgres_app_pool)
    sizes = server_settings(host.get_fact(Machine), data.postgres_memory_share, data.postgres_disk, demand.wanted)
    try:
        limits = demand.limits(int(sizes["max_connections"]))
    except ValueError as error:
        raise PyinfraError(f"{host.name}: {error}") from None

    roles.present(
        name="Make the roles as declared",
        roles=[
            roles.Role(**data.postgres_superuser),
            *(roles.Role(**role, connection_limit=limits[role["name"]]) for role in data.postgres_roles),
        ],
        cluster=data.postgres_cluster,
    )
