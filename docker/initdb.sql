-- What a new container gets before anyone connects: the roles and the database, with the same privileges and time
-- limits as on hosts (deploy/policy.py); hosts derive the connection limits from what the server can hold. Runs once,
-- as the superuser, over the container's own socket. Privileges inside the database are the migrations' business.
\set ON_ERROR_STOP on
\getenv database CALLYTICS_DATABASE
\getenv owner CALLYTICS_OWNER_USER
\getenv owner_password CALLYTICS_OWNER_PASSWORD
\getenv application CALLYTICS_USER
\getenv application_password CALLYTICS_PASSWORD
\getenv readonly_password CALLYTICS_READONLY_PASSWORD
\getenv monitor_password CALLYTICS_MONITOR_PASSWORD

-- A statement that fails would go to the log with its password.
set log_min_error_statement = 'panic';
set log_statement = 'none';

create role :"owner" login connection limit 20 password :'owner_password';
alter role :"owner" set statement_timeout = '0';
alter role :"owner" set lock_timeout = '10min';
alter role :"owner" set idle_in_transaction_session_timeout = '1h';
alter role :"owner" set log_min_messages = 'log';

create role :"application" login connection limit 60 password :'application_password';
alter role :"application" set statement_timeout = '1min';
alter role :"application" set lock_timeout = '10s';
alter role :"application" set idle_in_transaction_session_timeout = '1min';
alter role :"application" set log_min_messages = 'log';

-- These two can't log in before they have a password: PostgreSQL takes an empty one for none.
create role callytics_readonly login connection limit 10 password :'readonly_password';
alter role callytics_readonly set default_transaction_read_only = 'on';
alter role callytics_readonly set statement_timeout = '5min';
alter role callytics_readonly set lock_timeout = '10s';
alter role callytics_readonly set idle_in_transaction_session_timeout = '5min';
alter role callytics_readonly set log_min_messages = 'log';

create role callytics_monitor login connection limit 3 password :'monitor_password';
grant pg_monitor to callytics_monitor;
alter role callytics_monitor set default_transaction_read_only = 'on';
alter role callytics_monitor set statement_timeout = '15s';
alter role callytics_monitor set lock_timeout = '1s';
alter role callytics_monitor set idle_in_transaction_session_timeout = '15s';
alter role callytics_monitor set log_min_messages = 'log';

create database :"database" owner :"owner" template template0 encoding 'UTF8' locale 'C.UTF-8';
alter database :"database" set timezone = 'UTC';

-- By default PUBLIC may connect everywhere and create temporary tables: roles that come later would inherit that.
revoke all on database :"database", postgres, template1 from public;
grant connect on database :"database" to :"application", callytics_readonly, callytics_monitor;
grant connect on database postgres to callytics_monitor;
