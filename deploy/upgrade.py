"""Upgrade an installation: a backup that can be returned to, PostgreSQL's newest minor version, then Callytics.

    pyinfra --dry inventory.py deploy/upgrade.py       shows what would be
    pyinfra -y inventory.py deploy/upgrade.py

What fails goes back by itself. A second run changes nothing, and one that was killed is completed by the next.
"""

from pathlib import Path

from pyinfra import host, inventory, local, state
from pyinfra.api.exceptions import PyinfraError

from deploy.operations import backups, debian_packages, releases
from deploy.operations.cluster import minor
from deploy.operations.hosts import wait_for_each_other

DEPLOY = Path(__file__).parent

data = host.data
is_database = "database" in host.groups

if "cluster" in host.groups:
    # Its steps restart Debian's own unit of the server, which on a member must stay stopped: Patroni has the data.
    raise PyinfraError(
        "three hosts are not upgraded by this file yet: deploy/site.py brings them a new version of Callytics, and "
        "PostgreSQL's packages are held"
    )

away = [one.name for one in state.inventory if "app" in one.groups and one not in state.activated_hosts]
if away:
    # Whether by --limit or because it is off: it would be left with a version that the database is no longer made for.
    raise PyinfraError(
        f"{', '.join(away)} cannot be upgraded with the others: bring it up, or take it out of APP_HOSTS until it is"
    )

if "app" in host.groups and not data.app_accepts_one_way:
    # Here, not when its turn comes: with -y pyinfra looks at an operation only then, and PostgreSQL's was before.
    found = host.get_fact(releases.FoundReleases, folder=data.app_home)
    releases.check_reversible(Path(data.deploy_checkout), found)

keeps = data.backup_on and ("backup" in host.groups or (is_database and not data.backup_host))

debian_packages.mended(name="Complete interrupted package installations before the upgrade")
if keeps:
    installed = inventory.get_host(data.app_first_host).get_fact(releases.FoundReleases, folder=data.app_home)
    # What can't be rolled back is taken back by a restore alone, which should lose nothing of today.
    returns = not releases.one_way(Path(data.deploy_checkout), installed)
    backups.recent(
        name="Have a backup to return to",
        stanza=data.backup_stanza,
        hours=data.backup_upgrade_hours if returns else 0,
    )
if data.backup_on and is_database:
    backups.checked(
        name="Check that changes arrive in the repository", stanza=data.backup_stanza, cluster=data.postgres_cluster
    )

wait_for_each_other(name="Wait until there is a backup")

if is_database:
    debian_packages.listed(name="Ask for new versions of Debian's packages", minutes=60)
    minor.upgraded(
        name="Bring PostgreSQL to its newest minor version",
        packages=data.postgres_packages,
        cluster=data.postgres_cluster,
    )

wait_for_each_other(name="Wait until every database is back")

local.include(str(DEPLOY / "app.py"))
releases.ended_together(name="Go on if every application host has this version")
local.include(str(DEPLOY / "maintenance.py"))
# The backups' program on database hosts, and what a new version changes of their settings.
local.include(str(DEPLOY / "backup.py"))
