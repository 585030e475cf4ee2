-- The log: append-only, in one total order, one event per place in a stream. The database enforces all
-- three, so that no code path, no other program and no psql session can forget them.

-- Text to time in a generated column needs an immutable expression. RFC 3339 with an offset does not depend
-- on any setting, which is why this function may say so.
create function utc_time(rfc3339 text) returns timestamptz
    language sql immutable strict parallel safe
    as $$ select rfc3339::timestamptz $$;

create table call_events (
    -- The position: one total order over the whole log. CACHE 1, or sessions would draw ahead of each other.
    id bigint generated always as identity (cache 1),
    aggregate_type text not null,
    aggregate_id text not null,
    sequence bigint not null check (sequence > 0),
    event_type text not null,
    event_version text not null,
    -- json, not jsonb: stored as text it is read three times as fast, and nothing queries inside it.
    payload json not null,
    metadata json not null,
    call_sid varchar(100) generated always as (case when aggregate_type = 'call' then aggregate_id end) stored,
    event_status text generated always as (payload #>> '{summary,status}') stored,
    event_time timestamptz generated always as (utc_time(payload ->> 'occurred_at')) stored,
    source text generated always as (metadata ->> 'source') stored,
    -- Not now(): that is the start of the transaction, before the wait for the lock below. Taken while the
    -- lock is held, time order is position order, and "as of 14:03" is a prefix of the log.
    created_at timestamptz not null default clock_timestamp(),
    -- The optimistic lock: two writers cannot both append the same place in a stream.
    primary key (aggregate_type, aggregate_id, sequence)
);

create unique index call_events_position on call_events (id);

create function call_events_append_only() returns trigger
    language plpgsql
    as $$
begin
    raise exception 'call_events is append-only: % is not allowed', tg_op
        using errcode = 'restrict_violation',
              hint = 'Record what is right as a further event.';
end
$$;

create trigger call_events_append_only
    before update or delete or truncate on call_events
    for each statement execute function call_events_append_only();

-- Appends commit one after another, so a reader that has seen position P has seen everything up to P. The
-- lock is taken before any identity value is drawn and held until the transaction ends. COPY fires it too.
create function call_events_in_order() returns trigger
    language plpgsql
    as $$
begin
    perform pg_advisory_xact_lock(append_lock());
    return null;
end
$$;

-- 'callbook' in ASCII.
create function append_lock() returns bigint
    language sql immutable parallel safe
    as $$ select 7161124095259537259 $$;

create trigger call_events_in_order
    before insert on call_events
    for each statement execute function call_events_in_order();
