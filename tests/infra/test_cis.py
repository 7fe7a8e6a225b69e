"""The recommendations of the CIS PostgreSQL 15 Benchmark that apply to a host of ours, each with its number.

Left out: those that need an extension which Debian's package does not bring (3.2, 4.8), a FIPS kernel (6.7), that
concern a replica, archive or backup (7, 8.2), and the logging collector's files (3.1.3 to 3.1.9) and syslog (3.1.10 to
3.1.13), neither of which is used: Debian's service writes the log and logrotate turns it over.
"""

from __future__ import annotations

import pytest

from tests.infra.deployment import Deployment

SETTINGS = {
    "3.1.2 log destination": ("log_destination", {"stderr"}),
    "3.1.14 messages": ("log_min_messages", {"warning"}),
    # Level error is recommended; but the text of a failed statement is a call's.
    "3.1.15 statements that failed": ("log_min_error_statement", {"panic", "error"}),
    "3.1.16 parse trees": ("debug_print_parse", {"off"}),
    "3.1.17 rewritten trees": ("debug_print_rewritten", {"off"}),
    "3.1.18 plans": ("debug_print_plan", {"off"}),
    "3.1.19 readable output": ("debug_pretty_print", {"on"}),
    "3.1.20 connections": ("log_connections", {"on"}),
    "3.1.21 disconnections": ("log_disconnections", {"on"}),
    # Terse, where verbose is recommended for trouble only: an error's detail quotes rows.
    "3.1.22 verbosity": ("log_error_verbosity", {"terse", "verbose"}),
    "3.1.23 host names": ("log_hostname", {"off"}),
    "3.1.25 statements": ("log_statement", {"ddl"}),
    "3.1.26 time zone": ("log_timezone", {"Etc/UTC", "GMT", "UTC"}),
    "6.2 ignore_system_indexes": ("ignore_system_indexes", {"off"}),
    "6.2 jit_debugging_support": ("jit_debugging_support", {"off"}),
    "6.2 jit_profiling_support": ("jit_profiling_support", {"off"}),
    "6.2 post_auth_delay": ("post_auth_delay", {"0"}),
    "6.3 bonjour": ("bonjour", {"off"}),
    "6.3 data_directory_mode": ("data_directory_mode", {"0700"}),
    "6.3 ignore_invalid_pages": ("ignore_invalid_pages", {"off"}),
    "6.4 fsync": ("fsync", {"on"}),
    "6.4 full_page_writes": ("full_page_writes", {"on"}),
    "6.4 password_encryption": ("password_encryption", {"scram-sha-256"}),
    "6.4 db_user_namespace": ("db_user_namespace", {"off"}),
    "6.4 krb_caseins_users": ("krb_caseins_users", {"off"}),
    "6.5 lo_compat_privileges": ("lo_compat_privileges", {"off"}),
    "6.5 session_preload_libraries": ("session_preload_libraries", {""}),
    "6.5 zero_damaged_pages": ("zero_damaged_pages", {"off"}),
    "6.5 ignore_checksum_failure": ("ignore_checksum_failure", {"off"}),
    "6.6 row_security": ("row_security", {"on"}),
    "6.6 check_function_bodies": ("check_function_bodies", {"on"}),
    "6.8 TLS": ("ssl", {"on"}),
    "6.9 TLS 1.0 and 1.1": ("ssl_min_protocol_version", {"TLSv1.2", "TLSv1.3"}),
    "7.2 replication commands": ("log_replication_commands", {"on"}),
}


@pytest.fixture(scope="module")
def settings(apart: Deployment) -> dict[str, str]:
    """Every setting as a new session finds it."""
    found: dict[str, str] = apart.document("select json_object_agg(name, setting) from pg_settings")
    return found


@pytest.mark.parametrize("recommendation", SETTINGS)
def test_a_setting_is_as_recommended(settings: dict[str, str], recommendation: str) -> None:
    name, allowed = SETTINGS[recommendation]
    assert settings[name] in allowed


def recommendation(number: str) -> pytest.MarkDecorator:
    """Give a test a recommendation's number as its id."""
    return pytest.mark.parametrize("number", [number])


@recommendation("1.1")
def test_packages_are_debian_s(apart: Deployment, number: str) -> None:
    """From an authorized repository: Debian's own, verified by its key."""
    assert "Debian" in apart.database.run("apt-cache show postgresql-15 | grep ^Maintainer:").stdout
    assert apart.database.run("dpkg --verify postgresql-15 | grep -v ' c '", check=False).stdout == ""


@recommendation("1.3")
def test_the_service_is_enabled(apart: Deployment, number: str) -> None:
    assert apart.database.run("systemctl is-enabled postgresql").stdout == "enabled\n"


@recommendation("1.4")
def test_the_cluster_is_initialized(apart: Deployment, number: str) -> None:
    assert apart.database.run("cat /var/lib/postgresql/15/main/PG_VERSION").stdout == "15\n"


@recommendation("1.6")
def test_no_profile_has_a_password(apart: Deployment, number: str) -> None:
    files = "/etc/environment /etc/profile /etc/profile.d /root /home /var/lib/postgresql/.[!.]*"
    assert apart.database.run(f"grep -rsl PGPASSWORD {files}", check=False).stdout == ""


@recommendation("1.7")
def test_no_process_has_a_password_in_its_environment(apart: Deployment, number: str) -> None:
    for host in (apart.database, apart.app):
        assert host.run("grep -lsa '^PGPASSWORD=\\|\\x00PGPASSWORD=' /proc/[0-9]*/environ", check=False).stdout == ""


@recommendation("2.2")
def test_extensions_are_root_s(apart: Deployment, number: str) -> None:
    folder = "/usr/share/postgresql/15/extension"
    assert apart.database.run(f"find {folder} -not -user root -o -perm /022 -not -type l").stdout == ""


@recommendation("2.3")
def test_the_superuser_keeps_no_history(apart: Deployment, number: str) -> None:
    """Nobody works as that account, so that no statement with a secret is kept in a file."""
    history = "find /var/lib/postgresql /root -name .psql_history -type f -size +0"
    assert apart.database.run(history).stdout == ""


@recommendation("2.4")
def test_no_service_file_has_a_password(apart: Deployment, number: str) -> None:
    files = "/etc/postgresql-common/pg_service.conf /root/.pg_service.conf /var/lib/postgresql/.pg_service.conf"
    assert apart.database.run(f"grep -sl password {files}", check=False).stdout == ""


@recommendation("3.1.6")
def test_the_log_is_not_for_everybody(apart: Deployment, number: str) -> None:
    assert apart.database.run("find /var/log/postgresql -type f -perm /007").stdout == ""


@recommendation("3.1.24")
@pytest.mark.parametrize("part", ["%m", "%p", "%d", "%u", "%a", "%h"])
def test_a_line_of_the_log_says_who_and_when(settings: dict[str, str], number: str, part: str) -> None:
    assert part in settings["log_line_prefix"]


@recommendation("4.1")
def test_the_superuser_s_account_has_no_password(apart: Deployment, number: str) -> None:
    """Root becomes postgres; nobody logs in as it."""
    assert apart.database.run("getent shadow postgres").stdout.split(":")[1] in {"!", "*", "!*"}


@recommendation("4.3")
def test_there_is_one_superuser(apart: Deployment, number: str) -> None:
    admins = "rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls"
    assert apart.superuser(f"select rolname from pg_roles where {admins}") == "postgres"


@recommendation("4.4")
def test_only_declared_roles_log_in(apart: Deployment, number: str) -> None:
    found = apart.superuser("select rolname from pg_roles where rolcanlogin order by 1").split()
    assert found == ["callytics_monitor", "callytics_owner", "callytics_readonly", "callytics_user", "postgres"]


@recommendation("4.5")
def test_no_function_lends_rights(apart: Deployment, number: str) -> None:
    """But one: the application may have the owner's partitions made, and gives it no search path of its own."""
    schemas = "pronamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)"
    lenders = f"select proname, proconfig is not null, proacl from pg_proc where prosecdef and {schemas}"
    assert apart.superuser(lenders) == (
        "keep_partitions_ahead|t|{callytics_owner=X/callytics_owner,callytics_user=X/callytics_owner}"
    )


@recommendation("4.6")
@pytest.mark.parametrize("privilege", ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"])
def test_no_table_is_everybody_s(apart: Deployment, number: str, privilege: str) -> None:
    acl = "select aclexplode(relacl) from pg_class where relnamespace::regnamespace::text in ('public', 'imports')"
    public = f"(e).grantee = 0 and (e).privilege_type = '{privilege}'"
    assert apart.superuser(f"select count(*) from ({acl}) as a (e) where {public}") == "0"


@recommendation("4.9")
def test_the_monitor_has_a_predefined_role(apart: Deployment, number: str) -> None:
    assert apart.superuser("select pg_has_role('callytics_monitor', 'pg_monitor', 'usage')") == "t"


@recommendation("4.10")
def test_passwords_are_scram_verifiers(apart: Deployment, number: str) -> None:
    """The superuser has none: it enters by its own account only."""
    weak = "rolcanlogin and rolname <> 'postgres' and coalesce(rolpassword, '') !~ '^SCRAM-SHA-256[$]'"
    assert apart.superuser(f"select rolname from pg_authid where {weak}") == ""
    assert apart.superuser("select rolpassword is null from pg_authid where rolname = 'postgres'") == "t"


@recommendation("5.1")
def test_no_command_line_has_a_password(apart: Deployment, number: str) -> None:
    commands = apart.app.run(
        "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; cat /etc/systemd/system/*", check=False
    ).stdout
    assert apart.password("callytics_user") not in commands
    assert apart.password("callytics_owner") not in commands


@recommendation("5.2")
def test_the_server_is_bound_to_addresses(settings: dict[str, str], number: str) -> None:
    assert not {"*", "0.0.0.0", "::"} & {part.strip() for part in settings["listen_addresses"].split(",")}


@recommendation("5.3")
def test_the_local_socket_asks_the_kernel(apart: Deployment, number: str) -> None:
    rules = "select distinct auth_method from pg_hba_file_rules where type = 'local'"
    assert apart.superuser(rules) == "peer"


@recommendation("5.4")
def test_the_network_asks_for_scram_over_tls(apart: Deployment, number: str) -> None:
    rules = "select distinct type || ' ' || auth_method from pg_hba_file_rules where type <> 'local'"
    assert apart.superuser(rules) == "hostssl scram-sha-256"


@recommendation("5.4")
def test_no_rule_is_for_all(apart: Deployment, number: str) -> None:
    everybody = "'all' = any(user_name) or address in ('all', '0.0.0.0', '::') or "
    everybody += "('all' = any(database) and type <> 'local')"
    assert apart.superuser(f"select count(*) from pg_hba_file_rules where {everybody}") == "0"


@recommendation("5.5")
def test_accounts_have_connection_limits(apart: Deployment, number: str) -> None:
    unlimited = "rolcanlogin and not rolsuper and rolconnlimit < 0"
    assert apart.superuser(f"select rolname from pg_roles where {unlimited}") == ""


@recommendation("6.8")
def test_the_key_is_the_server_s_alone(apart: Deployment, settings: dict[str, str], number: str) -> None:
    assert apart.database.run(f"stat -c '%U %a' {settings['ssl_key_file']}").stdout == "postgres 600\n"


@recommendation("6.10")
@pytest.mark.parametrize("weak", ["aNULL", "eNULL", "EXPORT", "RC4", "3DES", "MD5"])
def test_no_weak_cipher_is_offered(apart: Deployment, settings: dict[str, str], number: str, weak: str) -> None:
    ciphers = f"openssl ciphers -v '{settings['ssl_ciphers']}'"
    offered = set(apart.database.run(f"{ciphers} | cut -d' ' -f1").stdout.split())
    refused = set(apart.database.run(f"openssl ciphers -v '{weak}' | cut -d' ' -f1", check=False).stdout.split())
    refused -= {name for name in refused if name.startswith("TLS_")}
    assert not offered & refused


@recommendation("8.1")
def test_the_log_is_outside_of_the_data(apart: Deployment, settings: dict[str, str], number: str) -> None:
    assert settings["temp_tablespaces"] == ""
    assert apart.database.run("pg_lsclusters -h | awk '{print $7}'").stdout.startswith("/var/log/postgresql/")
