"""Certificates: the server's own on each database host, the authority's on each application host to verify them."""

from pathlib import Path

from pyinfra import host
from pyinfra.operations import files

from deploy.operations.cluster import server_settings
from deploy.operations.secret import certificates
from deploy.operations.secret.certificates import Authority, Given

authority: Authority | Given
data = host.data
if data.tls_certificate_file:
    authority = Given(data.tls_authority_file, data.tls_certificate_file, data.tls_key_file)
else:
    authority = Authority(Path(data.deploy_folder, "tls"))

if "database" in host.groups:
    folder = f"/etc/postgresql/{data.postgres_cluster}"

    certificates.server_certificate(
        name="Install the server's certificate",
        authority=authority,
        server=data.tls_server_name,
        alternatives=data.tls_names,
        folder=folder,
    )
    if "cluster" in host.groups:
        certificates.authority_certificate(
            name="Install the authority by which members verify each other",
            authority=authority,
            dest=f"{folder}/ca.crt",
        )
    server_settings.in_force(
        name="Let PostgreSQL read its certificate",
        cluster=data.postgres_cluster,
        files=[f"{folder}/server.crt", f"{folder}/server.key"],
    )

if "app" in host.groups:
    # deploy/app.py makes it as well, since each file also runs alone.
    files.directory(
        name="Make the folder of the application's settings",
        path=data.app_settings_folder,
        user="root",
        group="root",
        mode="0755",
    )
    certificates.authority_certificate(
        name="Install the authority's certificate", authority=authority, dest=f"{data.app_settings_folder}/ca.crt"
    )
