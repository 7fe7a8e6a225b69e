"""Debian's packages, and how PostgreSQL's creates its cluster."""

from pyinfra import host
from pyinfra.operations import files

from deploy.operations import debian_packages
from deploy.operations.conf import template

debian_packages.mended(name="Complete interrupted package installations")

if "database" in host.groups:
    # Before the package: its installation creates the cluster, and a locale or encoding cannot be changed afterwards.
    files.put(
        name="Declare how the cluster is created: with checksums, UTF-8, scram",
        src=template("createcluster.conf" if "cluster" not in host.groups else "createcluster.cluster.conf"),
        dest="/etc/postgresql-common/createcluster.d/callytics.conf",
        user="root",
        group="root",
        mode="0644",
    )
    debian_packages.present(
        name=f"Install PostgreSQL {host.data.postgres_cluster.partition('/')[0]}", packages=host.data.postgres_packages
    )
    # Otherwise any upgrade of the system would restart the server, at a moment of its own and without a backup.
    debian_packages.held(
        name="Hold PostgreSQL's packages: deploy/upgrade.py brings newer ones", packages=host.data.postgres_packages
    )

if "app" in host.groups:
    debian_packages.present(name="Install Python", packages=host.data.app_packages)
