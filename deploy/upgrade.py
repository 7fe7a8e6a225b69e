"""Upgrade an installation: a backup that can be returned to, PostgreSQL's newest minor version, then Callytics.

    pyinfra --dry inventory.py deploy/upgrade.py       shows what would be
    pyinfra -y inventory.py deploy/upgrade.py

What fails goes back by itself. A second run changes nothing, and one that was killed is completed by the next.
"""

from pathlib import Path

from pyinfra import host, inventory, local, state
from pyinfra.api.exceptions import PyinfraError
from pyinfra.operations import files

from deploy.operations import backups, debian_packages, releases
from deploy.operations.cluster import minor
from deploy.operations.cluster.primary import follows, on_the_primary
from deploy.operations.conf import template
from deploy.operations.failover import patroni
from deploy.operations.hosts import wait_for_each_other
from deploy.operations.pgbackrest import keeps_backups

DEPLOY = Path(__file__).parent

data = host.data
is_database, is_member = "database" in host.groups, "cluster" in host.groups

away = [one.name for one in state.inventory if "app" in one.groups and one not in state.activated_hosts]
if away:
    # Whether by --limit or because it is off: it would be left with a version that the database is no longer made for.
    raise PyinfraError(
        f"{', '.join(away)} cannot be upgraded with the others: bring it up, or take it out of APP_HOSTS until it is"
    )

if "app" in host.groups and not data.app_accepts_one_way:
    # Here, not when its turn comes: with -y pyinfra looks at an operation only then, and PostgreSQL's was before.
    found = host.get_fact(releases.FoundReleases, folder=data.app_home)
    if wrong := releases.irreversible(Path(data.deploy_checkout), found):
        raise PyinfraError(wrong)

keeps = keeps_backups(data, host.name, is_database=is_database)

debian_packages.mended(name="Complete interrupted package installations before the upgrade")
if keeps:
    installed = inventory.get_host(data.app_first_host).get_fact(releases.FoundReleases, folder=data.app_home)
    # What can't be rolled back is taken back by a restore alone, which should lose nothing of today.
    returns = not releases.one_way(Path(data.deploy_checkout), installed)
    backups.recent(
        name="Have a backup to return to",
        stanza=data.backup_stanza,
        hours=data.backup_upgrade_hours if returns else 0,
        **on_the_primary(),
    )
if data.backup_on and is_database:
    backups.checked(
        name="Check that changes arrive in the repository",
        stanza=data.backup_stanza,
        cluster=data.postgres_cluster,
        **({} if data.backup_host else on_the_primary()),
    )

wait_for_each_other(name="Wait until there is a backup")

if is_database:
    debian_packages.listed(name="Ask for new versions of Debian's packages", minutes=60)

if is_database and not is_member:
    minor.upgraded(
        name="Bring PostgreSQL to its newest minor version",
        packages=data.postgres_packages,
        cluster=data.postgres_cluster,
    )

if is_member:
    place = patroni.Place(data.postgres_cluster, data.cluster_patroni_settings_folder, data.cluster_patroni_folder)
    files.put(
        name="Install what asks and leads the members, as this version has it",
        src=template("members.py"),
        dest=f"{place.settings}/members.py",
        user="root",
        group="postgres",
        mode="0640",
    )
    # One after another, and last the one that leads, when another does.
    minor.member_upgraded(
        name="Bring the standbys to PostgreSQL's newest minor version",
        packages=data.postgres_packages,
        place=place,
        _if=follows,
        _serial=True,
    )

if is_member:
    wait_for_each_other(name="Wait until the standbys are back")
    minor.member_upgraded(
        name="Bring the member to it that leads, or led",
        packages=data.postgres_packages,
        place=place,
        _serial=True,
    )

wait_for_each_other(name="Wait until every database is back")

local.include(str(DEPLOY / "app.py"))
releases.ended_together(name="Go on if every application host has this version")
local.include(str(DEPLOY / "maintenance.py"))
# The backups' program on database hosts, and what a new version changes of their settings.
local.include(str(DEPLOY / "backup.py"))
# The members' own program, and the restarts that new settings ask for.
local.include(str(DEPLOY / "failover.py"))
