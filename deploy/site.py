"""Turn a bare Debian 12 machine into a database server, an application host, or both.

    pyinfra inventory.py deploy/site.py          (--dry shows what would change)

Every file named here also runs alone: pyinfra inventory.py deploy/roles.py. The order is that of what needs what.
"""

from pathlib import Path

from pyinfra import local

from deploy.operations.hosts import wait_for_each_other

DEPLOY = Path(__file__).parent

# One line each, not a loop: pyinfra tells operations apart by the line that they are called from.
local.include(str(DEPLOY / "packages.py"))
local.include(str(DEPLOY / "kernel.py"))
local.include(str(DEPLOY / "logs.py"))
local.include(str(DEPLOY / "cluster.py"))
local.include(str(DEPLOY / "tls.py"))
# Access before configuration: the server must not listen on a network before it knows whom to refuse.
local.include(str(DEPLOY / "access.py"))
local.include(str(DEPLOY / "configuration.py"))
local.include(str(DEPLOY / "roles.py"))
local.include(str(DEPLOY / "database.py"))
# Three hosts are a cluster by now with one server each, of which one has data.
local.include(str(DEPLOY / "etcd.py"))
local.include(str(DEPLOY / "patroni.py"))

# Application hosts migrate and start a service, which need a database that may be on another host.
wait_for_each_other(name="Wait until every database is there")

local.include(str(DEPLOY / "app.py"))
local.include(str(DEPLOY / "maintenance.py"))
local.include(str(DEPLOY / "backup.py"))
local.include(str(DEPLOY / "monitoring.py"))
local.include(str(DEPLOY / "failover.py"))
