-- Reconcile: why a call is held for ended, which calls are not settled, and whose a recording is.

create or replace function create_read_model(generation integer, fold_version integer) returns void
    language plpgsql
    as $$
declare
    s text := 'read_model_g' || generation;
begin
    execute format('create schema %I', s);

    -- Level one: a row for each Call SID, folded from that call's events in order. It holds what is known but
    -- cannot be shown yet: a recording whose call was never announced, a child whose parent has not come.
    execute format($sql$
        create table %1$I.call_legs (
            call_sid varchar(100) not null,
            -- The SID of the parent call, or of the leg itself.
            root_call_sid varchar(100) not null,
            parent_call_sid varchar(100),
            announced boolean not null,
            direction text,
            -- The external party: its natural key, what kind it is, and how people read it.
            party_key text,
            party_kind text,
            party_display text,
            -- The natural keys of the parties that the leg was put down to before: what "as of" looks for.
            former_parties text[] not null,
            rule text,
            twilio_direction text,
            from_number text,
            from_display text,
            -- Seed 000's sync filters skip malformed numbers.
            from_malformed boolean not null,
            to_number text,
            to_display text,
            to_malformed boolean not null,
            forwarded_from text,
            caller_name text,
            status text,
            -- Ended by our own conclusion (a dial action), not yet confirmed by Twilio.
            provisional boolean not null,
            started_at timestamptz,
            answered_at timestamptz,
            ended_at timestamptz,
            -- Why it is held for ended, where Twilio did not say so.
            end_reason text,
            duration integer,
            price numeric(12, 5),
            price_unit varchar(10),
            answered_by text,
            queue_time integer,
            last_event_time timestamptz,
            dials jsonb not null,
            recordings jsonb not null,
            frozen boolean not null,
            created_at timestamptz not null,
            updated_at timestamptz not null
        )$sql$, s);

    -- Level two: threads, by external party.
    execute format($sql$
        create table %1$I.contacts (
            id bigint not null,
            phone_number text not null,
            formatted_number text,
            display_name text,
            metadata jsonb not null,
            created_at timestamptz not null,
            updated_at timestamptz not null
        )$sql$, s);
    execute format($sql$
        create table %1$I.conversations (
            id bigint not null,
            contact_id bigint,
            external_id text not null,
            subject text,
            status varchar(50) not null,
            last_message_at timestamptz not null,
            -- The entry that is shown as the last message.
            last_message_id bigint not null,
            -- Counters, so that no list ever counts; total_calls counts families.
            total_calls bigint not null,
            total_duration bigint not null,
            last_call_direction varchar(50) not null,
            metadata jsonb not null,
            created_at timestamptz not null,
            updated_at timestamptz not null
        )$sql$, s);
    execute format($sql$
        create table %1$I.messages (
            id bigint not null,
            -- Null while the root of a child has not been seen, and for what the sync filters hide.
            conversation_id bigint,
            twilio_sid varchar(100) not null,
            root_call_sid varchar(100) not null,
            parent_call_sid varchar(100),
            -- The row that stands for its family in lists: the root, or each leg while the root is unseen.
            entry boolean not null,
            -- Some leg of the entry's family has not ended.
            live boolean not null,
            hidden_reason text,
            direction varchar(50) not null,
            status varchar(50) not null,
            display_status varchar(50) not null,
            missed boolean not null,
            from_number text not null,
            to_number text not null,
            duration integer,
            total_duration integer,
            talk_time integer,
            wait_time integer,
            price numeric(12, 5),
            price_unit varchar(10),
            start_time timestamptz not null,
            answered_at timestamptz,
            end_time timestamptz,
            recording_sid varchar(100),
            recording_url text,
            metadata jsonb not null,
            last_event_time timestamptz,
            is_final boolean not null,
            finalized_at timestamptz,
            sync_state text not null,
            created_at timestamptz not null,
            updated_at timestamptz not null
        )$sql$, s);

    -- How many rows a list has in all, kept by the projection.
    execute format('create table %1$I.totals (name text primary key, rows bigint not null)', s);
    execute format($sql$insert into %1$I.totals values ('conversations', 0)$sql$, s);

    -- Calls that are not folded any further, because an event of theirs cannot be; all legs of a family together.
    execute format($sql$
        create table %1$I.quarantine (
            call_sid varchar(100) primary key,
            root_call_sid varchar(100) not null,
            -- The thread that is stale meanwhile, where there is one.
            conversation_id bigint,
            -- The event that could not be folded, and why.
            position bigint not null,
            reason text not null,
            quarantined_at timestamptz not null default clock_timestamp()
        )$sql$, s);

    insert into read_model_generations (generation, fold_version) values (generation, fold_version);
end
$$;

-- In three parts, so that a rebuild can run them side by side.

create or replace function index_call_legs(generation integer) returns void
    language plpgsql
    as $$
declare
    s text := 'read_model_g' || generation;
begin
    execute format('alter table %I.call_legs add primary key (call_sid)', s);
    execute format('create index idx_call_legs_root on %I.call_legs (root_call_sid)', s);
    -- What a thread's history looks for: the legs of a party, now and before.
    execute format('create index idx_call_legs_party on %I.call_legs (party_key)', s);
    execute format('create index idx_call_legs_former on %I.call_legs using gin (former_parties) where former_parties <> ''{}''', s);
    -- What reconcile looks for: calls of which more is expected. They are few, whatever the size of the table.
    execute format('create index idx_call_legs_unsettled on %I.call_legs (call_sid) where not frozen', s);
    -- Whose a recording is.
    execute format('create index idx_call_legs_recordings on %I.call_legs using gin (recordings) where recordings <> ''{}''', s);
    execute format('analyze %I.call_legs', s);
end
$$;

-- The generations that are there serve until they are rebuilt, so they get what readers look for.
do $$
declare
    s text;
begin
    for s in select 'read_model_g' || generation from read_model_generations loop
        execute format('alter table %I.call_legs add column end_reason text', s);
        execute format('create index idx_call_legs_unsettled on %I.call_legs (call_sid) where not frozen', s);
        execute format('create index idx_call_legs_recordings on %I.call_legs using gin (recordings) where recordings <> ''{}''', s);
    end loop;
end
$$;
