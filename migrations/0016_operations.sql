-- What those who run callbook see and do: which life of the log this is, the rebuilds that they ask for, what of the
-- inbox they had tried again, and which job is being done.

-- A log that was restored from a backup lives again, and what it appends then stands at positions where the lost end
-- of its former life had other events; so positions are told together with this, and one of a former life is noticed.
-- Restoring replaces it; nothing else does.
alter table installation
    add column incarnation text not null default left(replace(gen_random_uuid()::text, '-', ''), 12)
        check (incarnation ~ '^[0-9a-z]{1,32}$');

-- In the database, so that each of many callbooks can tell of a rebuild and have it cancelled, whichever does it.
create table rebuilds (
    id bigint generated always as identity primary key,
    dry_run boolean not null,
    state text not null default 'running' check (state in ('running', 'succeeded', 'failed', 'cancelled')),
    phase text,
    position bigint not null default 0,
    head bigint not null default 0,
    -- Why it failed, in words for anybody.
    error text,
    -- What a dry run found.
    difference jsonb,
    -- The request that asked for it.
    requested_by text,
    cancel_requested boolean not null default false,
    -- When whoever does it last said so.
    heard_at timestamptz not null default clock_timestamp(),
    started_at timestamptz not null default clock_timestamp(),
    ended_at timestamptz
);

-- The last time that somebody had a row tried again that was given up, and by which request.
alter table twilio_webhook_inbox
    add column retried_at timestamptz,
    add column retried_by text;

-- What is being done since when; a job that runs by itself, under which epoch of the worker lease. What came of it the
-- last time.
alter table sync_state
    add column running_since timestamptz,
    add column running_epoch bigint,
    add column last_outcome jsonb;
