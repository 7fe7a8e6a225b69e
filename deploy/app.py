"""Callytics itself: its account, its settings, its virtual environment, its schema, and the months to come."""

from pathlib import Path

from pyinfra import host
from pyinfra.operations import files, server, systemd

from deploy.operations import application
from deploy.operations import files as secret_files
from deploy.operations import systemd as units
from deploy.operations.envfile import env_file
from deploy.operations.templates import JINJA, template

PARTITIONS = "callytics-partitions"

if "app" in host.groups:
    data = host.data
    settings = {
        "POSTGRES_HOST": ",".join("localhost" if name == host.name else name for name in data.app_database_hosts),
        "POSTGRES_PORT": data.postgres_port,
        "POSTGRES_DB": data.postgres_database,
        "POSTGRES_SSLMODE": "verify-full",
        "POSTGRES_SSLROOTCERT": f"{data.app_settings_folder}/ca.crt",
        "POSTGRES_MIN_CONNECTIONS": data.app_min_connections,
        "POSTGRES_MAX_CONNECTIONS": data.app_max_connections,
        "POSTGRES_USER": "callytics_user",
        "POSTGRES_PASSWORD": data.app_password,
    }
    owner = {"POSTGRES_OWNER_USER": "callytics_owner", "POSTGRES_OWNER_PASSWORD": data.app_owner_password}
    app_env, admin_env = f"{data.app_settings_folder}/app.env", f"{data.app_settings_folder}/admin.env"

    server.group(name="Create the application's group", group=data.app_user, system=True)
    server.user(
        name="Create the application's account, without a shell",
        user=data.app_user,
        group=data.app_user,
        home="/nonexistent",
        shell="/usr/sbin/nologin",
        create_home=False,
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

    files.directory(name="Make the application's folder", path=data.app_folder, user="root", group="root", mode="0755")
    application.installed(
        name="Install Callytics from this checkout",
        checkout=application.Checkout(Path(data.deploy_checkout), Path(data.deploy_folder, "wheels")),
        folder=data.app_folder,
    )
    files.link(
        name="Make callytics a command", path="/usr/local/bin/callytics", target=f"{data.app_folder}/bin/callytics"
    )

    application.migrated(name="Apply the migrations", folder=data.app_folder, env_file=admin_env, _run_once=True)
    application.granted(
        name="Give the roles their privileges, no more and no fewer",
        folder=data.app_folder,
        env_file=admin_env,
        _run_once=True,
    )

    files.put(
        name="Write the program that makes partitions ahead",
        src=template("keep_partitions_ahead.py"),
        dest=f"{data.app_folder}/keep_partitions_ahead.py",
        user="root",
        group="root",
        mode="0644",
    )
    for kind in ("service", "timer"):
        files.template(
            name=f"Write the partitions' {kind}",
            src=template(f"{PARTITIONS}.{kind}.j2"),
            jinja_env_kwargs=JINJA,
            dest=f"/etc/systemd/system/{PARTITIONS}.{kind}",
            user="root",
            group="root",
            mode="0644",
            app_user=data.app_user,
            app_folder=data.app_folder,
            app_env=app_env,
            months=data.app_months_ahead,
        )
    units.loaded(
        name="Make systemd know the partitions' units",
        units={unit: [f"/etc/systemd/system/{unit}"] for unit in (f"{PARTITIONS}.service", f"{PARTITIONS}.timer")},
    )
    systemd.service(name="Run the partitions' timer", service=f"{PARTITIONS}.timer", running=True, enabled=True)
