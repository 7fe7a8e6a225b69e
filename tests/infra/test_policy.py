"""What a provisioned host promises: who owns what, what runs, what each role may do."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from testinfra.host import Host

from tests.infra.connections import Answer, ask, info
from tests.infra.deployment import Deployment
from tests.infra.lab import LabHost
from tests.infra.service import wait_for

CONFIGURATION = "/etc/postgresql/15/main"
DATA = "/var/lib/postgresql/15/main"
OUR_ROLES = ("callytics_owner", "callytics_user", "callytics_readonly", "callytics_monitor")


@pytest.fixture
def database(apart: Deployment, testinfra_of: Callable[[LabHost], Host]) -> Host:
    """The database's host."""
    return testinfra_of(apart.database)


@pytest.fixture
def app(apart: Deployment, testinfra_of: Callable[[LabHost], Host]) -> Host:
    """The application's host."""
    return testinfra_of(apart.app)


@pytest.mark.parametrize(
    ("path", "owner", "group", "mode"),
    [
        (f"{CONFIGURATION}/pg_hba.conf", "root", "postgres", 0o640),
        (f"{CONFIGURATION}/pg_ident.conf", "root", "postgres", 0o640),
        (f"{CONFIGURATION}/conf.d/callytics.conf", "root", "postgres", 0o640),
        (f"{CONFIGURATION}/conf.d/callytics-backup.conf", "root", "postgres", 0o640),
        ("/etc/pgbackrest/pgbackrest.conf", "root", "postgres", 0o640),
        ("/etc/pgbackrest/conf.d/callytics.conf", "postgres", "postgres", 0o600),
        ("/var/lib/pgbackrest", "postgres", "postgres", 0o750),
        (f"{CONFIGURATION}/server.key", "postgres", "postgres", 0o600),
        (f"{CONFIGURATION}/server.crt", "root", "postgres", 0o644),
        (DATA, "postgres", "postgres", 0o700),
    ],
)
def test_the_database_s_files(database: Host, path: str, owner: str, group: str, mode: int) -> None:
    file = database.file(path)
    assert (file.user, file.group, file.mode) == (owner, group, mode)


@pytest.mark.parametrize(
    ("path", "owner", "group", "mode"),
    [
        ("/etc/callytics", "root", "root", 0o755),
        ("/etc/callytics/app.env", "root", "callytics", 0o640),
        ("/etc/callytics/admin.env", "root", "root", 0o600),
        ("/etc/callytics/ca.crt", "root", "root", 0o644),
        ("/opt/callytics", "root", "root", 0o755),
    ],
)
def test_the_application_s_files(app: Host, path: str, owner: str, group: str, mode: int) -> None:
    file = app.file(path)
    assert (file.user, file.group, file.mode) == (owner, group, mode)


def test_the_authority_s_key_stays_on_the_control_machine(apart: Deployment) -> None:
    for host in (apart.database, apart.app):
        assert host.run("find / -xdev -name 'ca.key*' -not -path '/proc/*'", check=False).stdout == ""


def test_the_authorities_keys_are_their_owner_s_alone(apart: Deployment) -> None:
    """That of the servers' certificates, and that of the monitoring's."""
    keys = [*apart.checkout.rglob("ca.key")]
    assert len(keys) == 2
    for path in (*keys, *(key.parent for key in keys)):
        assert path.stat().st_mode & 0o077 == 0, path


def test_debian_s_configuration_is_untouched(apart: Deployment) -> None:
    """Everything that is set stands in files of ours, so that updates ask nothing. Only the port may differ."""
    changed = apart.database.run(
        f"pg_conftool -s 15 main show all >/dev/null && grep -c callytics {CONFIGURATION}/postgresql.conf", check=False
    ).stdout
    assert changed.strip() == "0"
    assert apart.database.run(f"ls {CONFIGURATION}/conf.d").stdout == "callytics-backup.conf\ncallytics.conf\n"
    assert apart.superuser("select count(*) from pg_file_settings where sourcefile ~ 'auto.conf'") == "0"


def test_every_setting_of_the_files_is_in_force(apart: Deployment) -> None:
    """None has a mistake, none is hidden by another file and none waits for a restart."""
    ours = "sourcefile ~ 'conf.d/callytics'"
    assert apart.superuser(f"select count(*) > 20 from pg_file_settings where {ours}") == "t"
    assert apart.superuser(f"select name, error from pg_file_settings where {ours} and not applied") == ""
    assert apart.superuser("select name from pg_settings where pending_restart") == ""


def test_pg_hba_has_nothing_but_what_is_declared(apart: Deployment) -> None:
    """The whole file: superuser and monitor by their own accounts, our roles by TLS and password.

    The superuser's account may be the owner or the application, too, and nobody else's may.
    """
    rules = apart.document(
        "select json_agg(json_build_array(type, database, user_name, coalesce(address, ''), auth_method)) "
        "from pg_hba_file_rules"
    )
    assert rules[0] == ["local", ["all"], ["postgres"], "", "peer"]
    assert rules[1] == ["local", ["callytics"], ["callytics_monitor"], "", "peer"]
    assert rules[2] == ["local", ["callytics"], ["callytics_owner", "callytics_user"], "", "peer"]
    mapped = "select string_agg(distinct sys_name || ' ' || map_name, ',') from pg_ident_file_mappings"
    assert apart.superuser(mapped) == "postgres backups"
    here = {"127.0.0.1", "::1"}
    for kind, databases, [role], address, method in rules[3:]:
        assert (kind, method) == ("hostssl", "scram-sha-256")
        assert role in OUR_ROLES
        watches = role == "callytics_monitor"
        assert set(databases) <= ({"callytics", "postgres"} if watches else {"callytics"})
        assert address in (here if watches else here | {apart.app.address})
    assert apart.superuser("select count(*) from pg_hba_file_rules where error is not null") == "0"


def test_postgresql_starts_at_boot(database: Host) -> None:
    """The cluster's own unit: Debian's postgresql.service always runs."""
    assert database.service("postgresql").is_enabled
    assert database.service("postgresql@15-main").is_running


def test_every_host_is_watched_from_the_database_s(apart: Deployment, app: Host, database: Host) -> None:
    assert app.service("prometheus-node-exporter").is_running
    assert not app.package("prometheus").is_installed
    for service in ("prometheus-node-exporter", "prometheus", "prometheus-alertmanager"):
        assert database.service(service).is_running
        assert database.service(service).is_enabled
    # Not the metric: that of targets it had before, as with other addresses, is told for five minutes more.
    ask = "curl -sS '127.0.0.1:9090/api/v1/targets?state=active'"
    wanted = {
        ("prometheus", apart.database.address): "up",
        ("alertmanager", apart.database.address): "up",
        ("node", apart.database.address): "up",
        ("hosts", apart.app.address): "up",
    }

    def found() -> dict[tuple[str, str], str]:
        targets = json.loads(apart.database.run(ask).stdout)["data"]["activeTargets"]
        return {(one["labels"]["job"], one["labels"]["instance"]): one["health"] for one in targets}

    assert found().keys() == wanted.keys()
    wait_for(lambda: found() == wanted, "a target is not asked")


def test_an_exporter_answers_nobody_without_a_certificate_of_ours(apart: Deployment) -> None:
    address = f"https://{apart.app.address}:9100/metrics"
    tls = "/etc/callytics/monitoring/tls"
    stranger = apart.database.run(f"curl -sS --cacert {tls}/ca.crt {address}", check=False)
    assert stranger.returncode != 0
    assert "node_load1" not in stranger.stdout
    ours = f"--cacert {tls}/ca.crt --cert {tls}/server.crt --key {tls}/server.key"
    known = apart.database.run(f"curl -sS {ours} {address}", check=False)
    assert "node_load1" in known.stdout, known.stderr
    assert apart.app.run(f"stat -c '%U %a' {tls}/server.key").stdout == "prometheus 600\n"


def test_nobody_logs_in_as_the_monitor_s_account(database: Host) -> None:
    account = database.user("callytics_monitor")
    assert account.shell == "/usr/sbin/nologin"
    assert account.password in {"!", "*", "!*"}


def test_partitions_are_made_ahead(apart: Deployment, app: Host) -> None:
    """By the timer's first run, which does not wait for midnight."""
    assert app.service("callytics-partitions.timer").is_enabled
    assert app.service("callytics-partitions.timer").is_running
    ahead = "to_char(now() + interval '3 months', 'YYYY_MM')"
    assert apart.superuser(f"select count(*) from pg_class where relname ~ {ahead} and relkind = 'r'") == "5"


def test_data_has_checksums(apart: Deployment) -> None:
    assert apart.superuser("show data_checksums") == "on"


def test_text_is_utf8_and_sorted_by_code_points(apart: Deployment) -> None:
    """The order of an index must not change when the system's library does."""
    described = "select pg_encoding_to_char(encoding), datcollate from pg_database where datname = 'callytics'"
    assert apart.superuser(described) == "UTF8|C.UTF-8"


def test_extensions_are_the_declared_ones(apart: Deployment) -> None:
    found = set(apart.superuser("select extname from pg_extension").split())
    assert {"plpgsql"} <= found <= {"plpgsql", "pg_stat_statements"}


def change(host: LabHost, command: str) -> int:
    return host.run(f"cd / && runuser -u callytics -- sh -c '{command}'", check=False).returncode


def test_the_application_reads_its_settings(apart: Deployment) -> None:
    assert change(apart.app, "cat /etc/callytics/app.env") == 0


def test_the_application_can_not_read_the_owner_s(apart: Deployment) -> None:
    assert change(apart.app, "cat /etc/callytics/admin.env") != 0
    assert "OWNER" not in apart.app.run("cat /etc/callytics/app.env").stdout


@pytest.mark.parametrize(
    "path", ["/etc/callytics/app.env", "/etc/callytics/ca.crt", "/opt/callytics/current/bin/callytics"]
)
def test_the_application_can_not_change_itself(apart: Deployment, path: str) -> None:
    assert change(apart.app, f"test -w {path} || test -w $(dirname {path})") != 0


def test_nobody_else_reads_the_application_s_settings(apart: Deployment) -> None:
    command = "runuser -u nobody -- cat /etc/callytics/app.env"
    assert apart.app.run(command, check=False).returncode != 0


def test_nobody_logs_in_as_the_application(app: Host) -> None:
    account = app.user("callytics")
    assert account.shell == "/usr/sbin/nologin"
    assert account.password in {"!", "*", "!*"}


def test_the_application_has_what_it_needs(apart: Deployment) -> None:
    """What callytics doctor would find wrong, as the application connects."""
    answer = apart.app.run("cd / && callytics --env-file /etc/callytics/admin.env doctor --json", check=False)
    findings = json.loads(answer.stdout)["findings"]
    assert not [finding for finding in findings if finding["level"] == "error"]
    assert "ok" in {finding["level"] for finding in findings if finding["check"] == "partitions"}
    assert answer.returncode == 0


def test_every_migration_is_applied(apart: Deployment) -> None:
    written = {path.name.removesuffix(".sql") for path in (apart.checkout / "migrations").glob("*.sql")}
    written = {name for name in written if not name.endswith(".rollback")}
    assert set(apart.superuser("select migration_id from _yoyo_migration").split()) == written


@pytest.mark.parametrize("role", OUR_ROLES)
@pytest.mark.parametrize("attribute", ["rolsuper", "rolcreaterole", "rolcreatedb", "rolreplication", "rolbypassrls"])
def test_no_role_of_ours_has_an_administrator_s_right(apart: Deployment, role: str, attribute: str) -> None:
    assert apart.superuser(f"select {attribute} from pg_roles where rolname = '{role}'") == "f"


@pytest.mark.parametrize("role", OUR_ROLES)
def test_every_role_has_limits(apart: Deployment, role: str) -> None:
    """Connections, waiting for locks and idling in a transaction are bounded; statements too, but for imports."""
    limit, settings = apart.document(
        f"select json_build_array(rolconnlimit, coalesce(rolconfig, '{{}}')) from pg_roles where rolname = '{role}'"
    )
    values = dict(setting.split("=", 1) for setting in settings)
    assert 0 < limit < 100
    assert values["lock_timeout"] != "0"
    assert values["idle_in_transaction_session_timeout"] != "0"
    if role != "callytics_owner":
        assert values["statement_timeout"] != "0"


def test_no_role_can_take_another_s_connections(apart: Deployment) -> None:
    """Their limits together are within what the server has for them."""
    limits = "select sum(rolconnlimit) from pg_roles where rolname ~ '^callytics_'"
    room = "current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    assert apart.superuser(f"select ({limits}) <= {room}") == "t"


def test_the_application_may_fill_its_pool(apart: Deployment) -> None:
    pool = apart.app.run('grep -oP "POSTGRES_MAX_CONNECTIONS=\'\\K\\d+" /etc/callytics/app.env').stdout
    assert int(apart.superuser("select rolconnlimit from pg_roles where rolname = 'callytics_user'")) > int(pool)


def test_roles_are_members_of_what_is_declared(apart: Deployment) -> None:
    found = apart.superuser(
        "select member::regrole || ' in ' || roleid::regrole || case when admin_option then ' as its administrator' "
        "else '' end from pg_auth_members where member::regrole::text ~ '^callytics'"
    )
    assert found == "callytics_monitor in pg_monitor"


def test_the_owner_owns_the_calls(apart: Deployment) -> None:
    owners = "select distinct relowner::regrole from pg_class where relnamespace = 'public'::regnamespace"
    assert apart.superuser(f"{owners} and relkind in ('r', 'p', 'S')") == "callytics_owner"


READ = "select count(*) >= 0 from audio_files"
WRITE = "insert into topics (name) values ('x'); rollback"
# (role, statement, what it must end with; None: it is carried out)
RIGHTS = {
    "callytics_owner reads": ("callytics_owner", READ, None),
    "callytics_owner creates tables": ("callytics_owner", "create table probe (); drop table probe", None),
    "callytics_owner creates no roles": ("callytics_owner", "create role probe", "permission denied"),
    "callytics_owner reads no files of the server": (
        "callytics_owner",
        "select pg_read_file('/etc/passwd')",
        "permission denied",
    ),
    "callytics_user reads": ("callytics_user", READ, None),
    "callytics_user writes": ("callytics_user", WRITE, None),
    "callytics_user creates no tables": ("callytics_user", "create table probe ()", "permission denied"),
    "callytics_user drops no tables": ("callytics_user", "drop table audio_files", "must be owner"),
    "callytics_user truncates no tables": ("callytics_user", "truncate audio_files", "permission denied"),
    "callytics_user becomes no owner": ("callytics_user", "set role callytics_owner", "permission denied"),
    "callytics_user runs no programs": ("callytics_user", "copy (select 1) to program 'true'", "must be superuser"),
    "callytics_user keeps out of the import's records": (
        "callytics_user",
        "select * from imports.rejected",
        "permission denied",
    ),
    "callytics_user deletes no logins": ("callytics_user", "delete from agent_activity_logs", "permission denied"),
    "callytics_user changes no logins": (
        "callytics_user",
        "update agent_activity_logs set agent_id = null",
        "permission denied",
    ),
    "callytics_readonly sees no hashes": (
        "callytics_readonly",
        "select password_hash from agent_accounts",
        "permission denied",
    ),
    "callytics_readonly sees no sessions": ("callytics_readonly", "select id from agent_sessions", "permission denied"),
    "callytics_readonly reads": ("callytics_readonly", READ, None),
    "callytics_readonly writes nothing": (
        "callytics_readonly",
        f"set default_transaction_read_only = off; commit; {WRITE}",
        "permission denied",
    ),
    "callytics_readonly is told so at once": ("callytics_readonly", WRITE, "read-only transaction"),
    "callytics_readonly creates no tables": (
        "callytics_readonly",
        "set default_transaction_read_only = off; commit; create table probe ()",
        "permission denied",
    ),
    "callytics_monitor watches": ("callytics_monitor", "select count(*) > 0 from pg_stat_activity", None),
    "callytics_monitor hears no calls": ("callytics_monitor", "select * from utterances", "permission denied"),
    "callytics_monitor reads no files": (
        "callytics_monitor",
        "select pg_read_file('/etc/passwd')",
        "permission denied",
    ),
}


@pytest.fixture(scope="module")
def rights(alone: Deployment) -> dict[str, Answer]:
    """All statements, each in a session of its own role."""
    questions = [(info(alone, role, "localhost", sslmode="require"), sql) for role, sql, _ in RIGHTS.values()]
    return dict(zip(RIGHTS, ask(alone.app, *questions), strict=True))


@pytest.mark.parametrize("right", RIGHTS)
def test_a_role_may_do_what_it_is_for(rights: dict[str, Answer], right: str) -> None:
    expected = RIGHTS[right][2]
    if expected is None:
        assert rights[right].entered, rights[right].error
    else:
        assert expected in rights[right].error


@pytest.mark.parametrize("privilege", ["CONNECT", "TEMPORARY", "CREATE"])
@pytest.mark.parametrize("database", ["callytics", "postgres", "template1"])
def test_a_stranger_has_no_right_on_a_database(apart: Deployment, database: str, privilege: str) -> None:
    """What everybody may, a role made tomorrow may, too."""
    acl = f"select aclexplode(coalesce(datacl, acldefault('d', datdba))) from pg_database where datname = '{database}'"
    public = f"select count(*) from ({acl}) as a (e) where (e).grantee = 0 and (e).privilege_type = '{privilege}'"
    assert apart.superuser(public) == "0"


@pytest.mark.parametrize("schema", ["public", "imports"])
def test_a_stranger_has_no_right_on_a_schema(apart: Deployment, schema: str) -> None:
    acl = f"select aclexplode(nspacl) from pg_namespace where nspname = '{schema}'"
    assert apart.superuser(f"select count(*) from ({acl}) as a (e) where (e).grantee = 0") == "0"


def test_no_secret_function_is_everybody_s(apart: Deployment) -> None:
    """A function that runs with its owner's rights must not be for all."""
    assert (
        apart.superuser(
            "select proname from pg_proc where prosecdef and pronamespace in ('public'::regnamespace, "
            "'imports'::regnamespace) and (proacl is null or proacl::text ~ '[{,]=X')"
        )
        == ""
    )
