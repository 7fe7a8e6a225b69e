"""A bare Debian 12 machine becomes a database, an application host, or both.

    pyinfra inventory.py deploy/site.py          (--dry shows what would change)

Every file named here runs alone as well: pyinfra inventory.py deploy/roles.py
"""

from pathlib import Path

from pyinfra import local

from deploy.operations.hosts import wait_for_each_other

DEPLOY = Path(__file__).parent

# One line each, not a loop: pyinfra tells operations apart by the lines that they are called from.
local.include(str(DEPLOY / "packages.py"))
local.include(str(DEPLOY / "kernel.py"))
local.include(str(DEPLOY / "cluster.py"))
local.include(str(DEPLOY / "tls.py"))
local.include(str(DEPLOY / "access.py"))
local.include(str(DEPLOY / "configuration.py"))
local.include(str(DEPLOY / "roles.py"))
local.include(str(DEPLOY / "database.py"))

wait_for_each_other(name="Wait until every database is there")

local.include(str(DEPLOY / "app.py"))
