-- Cursors of the reconcile jobs.

create table sync_state (
    job_name text primary key,
    cursor jsonb not null default '{}',
    last_success_at timestamptz,
    last_error_at timestamptz,
    last_error text,
    updated_at timestamptz
);
