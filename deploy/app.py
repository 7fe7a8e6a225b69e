"""Callytics itself: its account, settings, virtual environment and schema, and its service."""

from pathlib import Path

from pyinfra import host
from pyinfra.operations import files, server

from deploy.operations import application, releases, units
from deploy.operations.cluster.server_settings import unit_of
from deploy.operations.conf import conf, template
from deploy.operations.program import folders, is_beside_the_database
from deploy.operations.secret import keys, secret_files
from deploy.operations.secret.envfile import env_file

SERVICE = "callytics.service"

if "app" in host.groups:
    data = host.data
    kept_key = keys.KeptKey(Path(data.deploy_folder, "jwt_secret_key"))
    settings = {
        # By the name that this machine has in its own server's certificate.
        **{
            name: ",".join("localhost" if name == host.name else name for name in names)
            for name, names in (("POSTGRES_HOST", data.app_database_hosts), ("POSTGRES_READ_HOST", data.app_read_hosts))
            if names
        },
        "POSTGRES_PORT": data.postgres_port,
        "POSTGRES_DB": data.postgres_database,
        "POSTGRES_SSLMODE": "verify-full",
        "POSTGRES_SSLROOTCERT": f"{data.app_settings_folder}/ca.crt",
        "POSTGRES_MIN_CONNECTIONS": data.app_min_connections,
        "POSTGRES_MAX_CONNECTIONS": data.app_max_connections,
        "POSTGRES_USER": "callytics_user",
        "POSTGRES_PASSWORD": data.app_password,
        "JWT_SECRET_KEY": data.app_signing_key or kept_key,
        **({"PROMETHEUS_URL": "http://127.0.0.1:9090"} if "monitoring" in host.groups else {}),
        **data.app_service_settings,
    }
    owner = {"POSTGRES_OWNER_USER": "callytics_owner", "POSTGRES_OWNER_PASSWORD": data.app_owner_password}
    app_env, admin_env = f"{data.app_settings_folder}/app.env", f"{data.app_settings_folder}/admin.env"

    if not data.app_signing_key:
        keys.kept(name="Make the key that signs logins, on the control machine", key=kept_key)
    server.group(name="Create the application's group", group=data.app_user, system=True)
    server.user(
        name="Create the application's account, without a shell",
        user=data.app_user,
        group=data.app_user,
        home="/nonexistent",
        shell="/usr/sbin/nologin",
        create_home=False,
        ensure_home=False,
        system=True,
    )
    files.directory(
        name="Make the folder of the application's settings",
        path=data.app_settings_folder,
        user="root",
        group="root",
        mode="0755",
    )
    secret_files.secret(
        name="Write the application's settings",
        content=env_file(settings),
        dest=app_env,
        user="root",
        group=data.app_user,
        mode=0o640,
    )
    secret_files.secret(
        name="Write the administrator's settings",
        content=env_file(settings | owner),
        dest=admin_env,
        user="root",
        group="root",
        mode=0o600,
    )

checkout = application.Checkout(Path(host.data.deploy_checkout), Path(host.data.deploy_folder, "wheels"))
release = checkout.release

if "app" in host.groups:
    releases.reversible(
        name="Look whether every new migration has a way back",
        folder=data.app_home,
        checkout=checkout,
        accepted=data.app_accepts_one_way,
    )
    for folder in (data.app_home, f"{data.app_home}/releases"):
        files.directory(name=f"Make {folder}", path=folder, user="root", group="root", mode="0755")
    releases.taken_over(name="Take over an installation of the older layout", folder=data.app_home)
if is_beside_the_database():
    folders("commands beside the database")
if "app" in host.groups or is_beside_the_database():
    # One operation for all hosts, which install side by side; those of the database begin to use it later.
    application.installed(
        name="Install Callytics from this checkout, beside what runs",
        checkout=checkout,
        folder=f"{host.data.app_home}/{release}",
    )

if "app" in host.groups:
    files.put(
        name="Write the program that switches between releases",
        src=template("switch_release.py"),
        dest=f"{data.app_home}/switch_release.py",
        user="root",
        group="root",
        mode="0755",
    )

    conf(
        name=f"Write {SERVICE}",
        src=f"{SERVICE}.j2",
        dest=f"/etc/systemd/system/{SERVICE}",
        app_user=data.app_user,
        app_folder=data.app_folder,
        app_env=app_env,
        database_unit=f"{unit_of(data.postgres_cluster)}.service" if "database" in host.groups else "",
    )
    units.loaded(name="Make systemd know the application's unit", units={SERVICE: [f"/etc/systemd/system/{SERVICE}"]})
    # After systemd knows the unit: the service is restarted by it. First who migrates, as the others need that schema,
    # then one after the other, so that never all of them are away: pyinfra takes hosts in no order of ours.
    upgrade = {
        "folder": data.app_home,
        "checkout": checkout,
        "service": releases.Service(admin_env, SERVICE, data.app_health),
    }
    is_first = host.name == data.app_first_host
    if is_first:
        releases.switched(name="Switch to this version", **upgrade, first=data.app_first_host)
    if not is_first:
        releases.switched(
            name="Switch to this version after the first host", **upgrade, first=data.app_first_host, _serial=True
        )
    releases.returned(name="Go back where another host has failed", **upgrade, _serial=True)
    files.link(
        name="Make callytics a command", path="/usr/local/bin/callytics", target=f"{data.app_folder}/bin/callytics"
    )

    # Once for all application hosts: they share one database.
    application.migrated(name="Apply the migrations", folder=data.app_folder, env_file=admin_env, _run_once=True)
    application.granted(
        name="Give the roles their privileges, no more and no fewer",
        folder=data.app_folder,
        env_file=admin_env,
        _run_once=True,
    )
    units.running(
        name="Run the application's service with its files as they are",
        unit=SERVICE,
        files=[
            f"/etc/systemd/system/{SERVICE}",
            app_env,
            f"{data.app_settings_folder}/ca.crt",
            f"{data.app_folder}/installed",
        ],
        _serial=True,
    )
    releases.settled(name="Forget which version was used before", folder=data.app_home)
    # Last: what was used before stays for as long as the new one has not proved itself.
    releases.pruned(name="Remove releases that are long past", folder=data.app_home, keep=data.app_kept_releases)
