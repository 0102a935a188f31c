-- Set what every connection of taskmaster's own relies on, whatever the role, the database or the
-- environment say. `sessions/bounds` sets the rest, which depends on the connection.
-- The statement timeout comes first, because that of the role would hold for these statements.
-- Locks of a lost host are released within 19 s, by the keepalives.
set statement_timeout = 0;
set lock_timeout = '10s';
set idle_in_transaction_session_timeout = 0;
set idle_session_timeout = 0;
set default_transaction_isolation = 'read committed';
set default_transaction_read_only = off;
set default_transaction_deferrable = off;
set exit_on_error = off;
set row_security = off;
set datestyle = 'ISO, MDY';
set intervalstyle = 'postgres';
set timezone = 'UTC';
set bytea_output = 'hex';
set extra_float_digits = 1;
set standard_conforming_strings = on;
set array_nulls = on;
set transform_null_equals = off;
set check_function_bodies = on;
set default_table_access_method = 'heap';
set client_min_messages = 'warning';
set jit = off;
set tcp_keepalives_idle = 10;
set tcp_keepalives_interval = 3;
set tcp_keepalives_count = 3;
-- A put, an ack and a settle are durable. The stricter levels and `local` stay as they are.
select set_config('synchronous_commit', 'on', false) as durable
 where current_setting('synchronous_commit') = 'off';
-- As `replica`, triggers do not run, so a put sends no notification. Only a superuser may set it.
select set_config('session_replication_role', 'origin', false) as setting
 where current_setting('session_replication_role') = 'replica';
-- Older versions of Postgres do not have these.
select set_config('restrict_nonsystem_relation_kind', '', false) as setting
 where current_setting('restrict_nonsystem_relation_kind', true) is not null;
select set_config('transaction_timeout', '0', false) as setting
 where current_setting('transaction_timeout', true) is not null
