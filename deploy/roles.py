"""The roles, with every attribute, password, membership and setting as the inventory declares them."""

from pyinfra import host

from deploy.operations import roles

if "database" in host.groups:
    roles.present(
        name="Make the roles as declared",
        roles=[roles.Role(**role) for role in (host.data.postgres_superuser, *host.data.postgres_roles)],
        cluster=host.data.postgres_cluster,
    )
