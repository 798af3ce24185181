#!/bin/sh
# Run once, by the image of PostgreSQL, when it makes its data: the role whose password people and workers have
# owns one database and may do nothing to the server.
set -eu
psql --no-psqlrc -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d postgres <<'SQL'
\set password `cat "$GPU_JOB_RUNNER_PASSWORD_FILE"`
CREATE ROLE gpu_job_runner LOGIN PASSWORD :'password';
CREATE DATABASE gpu_job_runner OWNER gpu_job_runner;
REVOKE ALL ON DATABASE gpu_job_runner FROM PUBLIC;
SQL
