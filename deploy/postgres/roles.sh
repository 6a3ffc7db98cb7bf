#!/bin/sh
# Roles and databases of the development containers; PostgreSQL's image runs it once, over an empty data directory.
# The same roles as the embedded server's: the owner runs migrations, the application owns nothing.
set -eu

psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d postgres \
    -v owner_password="$TASKFORCE_OWNER_PASSWORD" \
    -v app_password="$TASKFORCE_APP_PASSWORD" \
    -v temporal_password="$TEMPORAL_DB_PASSWORD" <<'SQL'
CREATE ROLE taskforce_owner LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD :'owner_password';
CREATE ROLE taskforce_app LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD :'app_password';
CREATE ROLE temporal LOGIN NOSUPERUSER CREATEDB PASSWORD :'temporal_password';
CREATE DATABASE taskforce OWNER taskforce_owner;
REVOKE ALL ON DATABASE taskforce FROM PUBLIC;
GRANT CONNECT ON DATABASE taskforce TO taskforce_app;
\connect taskforce
CREATE EXTENSION IF NOT EXISTS vector;
SQL
