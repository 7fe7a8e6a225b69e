"""The database, its owner, and who may connect to it and to the cluster's other databases."""

from pyinfra import host

from deploy.operations.cluster import databases
from deploy.operations.cluster.primary import on_the_primary

if "database" in host.groups:
    data = host.data

    databases.present(
        name=f"Create the database {data.postgres_database}",
        database=data.postgres_database,
        owner=data.postgres_database_owner,
        cluster=data.postgres_cluster,
        **on_the_primary(),
    )
    databases.privileges(
        name="Let only these roles connect",
        wanted=data.postgres_database_privileges,
        cluster=data.postgres_cluster,
        **on_the_primary(),
    )
    databases.statements_counted(
        name="Count statements",
        database=data.postgres_database,
        roles=[role["name"] for role in data.postgres_roles],
        cluster=data.postgres_cluster,
        **on_the_primary(),
    )
    databases.public_schema_closed(
        name="Close the schema public to everybody else",
        database=data.postgres_database,
        cluster=data.postgres_cluster,
        **on_the_primary(),
    )
