"""The command ``callytics`` on hosts that have no application of their own, for what works beside their database."""

from __future__ import annotations

from pathlib import Path

from pyinfra import host
from pyinfra.operations import files

from deploy.operations import application, debian_packages, releases


def is_beside_the_database() -> bool:
    """Tell whether this host has the program for its database alone, and no application."""
    data = host.data
    wanted = "cluster" in host.groups or data.backup_on or data.monitoring_on
    return "database" in host.groups and "app" not in host.groups and wanted


def folders(purpose: str) -> None:
    """Make what releases are installed into."""
    data = host.data
    debian_packages.present(name=f"Install Python for the {purpose}", packages=data.app_packages)
    for folder in (data.app_home, f"{data.app_home}/releases"):
        files.directory(name=f"Make {folder} for the {purpose}", path=folder, user="root", group="root", mode="0755")


def beside_the_database(purpose: str) -> None:
    """Install this version of Callytics for ``purpose``, and remove releases that are long past.

    An application's host has its own, which deploy/app.py switches together with the service: only its folders are seen
    to.
    """
    data = host.data
    folders(purpose)
    if "app" in host.groups:
        return
    checkout = application.Checkout(Path(data.deploy_checkout), Path(data.deploy_folder, "wheels"))
    release = checkout.release
    releases.taken_over(name=f"Take over a program of the older layout for the {purpose}", folder=data.app_home)
    application.installed(
        name=f"Install Callytics for the {purpose}", checkout=checkout, folder=f"{data.app_home}/{release}"
    )
    releases.used(name=f"Use this version for the {purpose}", folder=data.app_home, release=release)
    releases.pruned(
        name=f"Remove releases of the {purpose} that are long past", folder=data.app_home, keep=data.app_kept_releases
    )
