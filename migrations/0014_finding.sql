-- Finding: what lists are filtered by, each in the order in which they are shown, and what statistics read.
--
-- Text is searched by trigrams where the server has them. Without pg_trgm, or where it may not be created, search
-- finds the same by reading all names.

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
            -- The name that people gave it, else the number as people read it.
            display_name text,
            name text,
            notes text,
            tags text[] not null,
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
            -- When the newest inbound call began: what brings an archived thread back.
            last_inbound_at timestamptz,
            -- Missed calls that ended after the read marker.
            unread_count bigint not null,
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
            -- Our number in the call: what was called, or what called. Of entries only.
            line text,
            -- Who calls, as the network has it. Of entries only.
            caller_name text,
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

    -- What people have entered about a party and done with its thread, folded from the events of its contact and its
    -- conversation. It is there whether there is a call or not, and enters the fold at level two.
    execute format($sql$
        create table %1$I.entered (
            conversation_id bigint not null,
            party_key text not null,
            party_kind text,
            party_display text,
            name text,
            notes text,
            tags text[] not null,
            -- How long the stream is: what an editor's If-Match is compared with.
            contact_version bigint not null,
            contact_created_at timestamptz,
            contact_updated_at timestamptz,
            -- The start of the newest call that whoever archived the thread had seen.
            archived_up_to timestamptz,
            -- The end of the last call that somebody has seen.
            read_up_to timestamptz,
            state_version bigint not null,
            state_updated_at timestamptz
        )$sql$, s);

    -- How many rows a list has in all, kept by the projection.
    execute format('create table %1$I.totals (name text primary key, rows bigint not null)', s);
    execute format($sql$insert into %1$I.totals values ('conversations', 0)$sql$, s);

    -- What is not folded any further, because an event of it cannot be: calls, all legs of a family together, and
    -- what people entered about a party, by its natural key.
    execute format($sql$
        create table %1$I.quarantine (
            aggregate_type text not null,
            call_sid text primary key,
            root_call_sid text not null,
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

-- The operator class for an index on parts of words, or nothing where the server has none. Asked whenever indexes are
-- made, so a server that gets pg_trgm later has them from the next rebuild on.
create function trigram_operators() returns text
    language plpgsql
    as $$
begin
    begin
        if not exists (select from pg_extension where extname = 'pg_trgm') then
            create extension pg_trgm;
        end if;
    exception when others then
        -- Not installed, not allowed, or another session is at it: search goes without.
        raise notice 'text is searched without pg_trgm: %', sqlerrm;
    end;
    return (select format('%I.gin_trgm_ops', n.nspname)
              from pg_extension e join pg_namespace n on n.oid = e.extnamespace
             where e.extname = 'pg_trgm');
end
$$;

-- What lists of calls are filtered by. `entry and conversation_id is not null` is every call that a thread shows.
create function index_found_messages(s text) returns void
    language plpgsql
    as $$
declare
    trigrams text := trigram_operators();
begin
    -- Everything that statistics count and most of what filters ask, without a look at the wide rows.
    execute format($sql$
        create index idx_messages_calls on %I.messages (start_time desc, id desc)
            include (conversation_id, direction, display_status, missed, line, recording_sid, talk_time, wait_time)
            where entry and conversation_id is not null$sql$, s);
    execute format($sql$
        create index idx_messages_direction on %I.messages (direction, start_time desc, id desc)
            where entry and conversation_id is not null$sql$, s);
    execute format($sql$
        create index idx_messages_status on %I.messages (display_status, start_time desc, id desc)
            where entry and conversation_id is not null$sql$, s);
    execute format($sql$
        create index idx_messages_missed_calls on %I.messages (start_time desc, id desc)
            where entry and conversation_id is not null and missed$sql$, s);
    execute format($sql$
        create index idx_messages_recorded on %I.messages (start_time desc, id desc)
            where entry and conversation_id is not null and recording_sid is not null$sql$, s);
    execute format($sql$
        create index idx_messages_line on %I.messages (line, start_time desc, id desc)
            where entry and conversation_id is not null$sql$, s);
    -- Names of callers as the network gave them: all of them, for what is too short for trigrams or found too often, and
    -- parts of them.
    execute format($sql$
        create index idx_messages_caller_name on %I.messages (caller_name, conversation_id)
            where entry and conversation_id is not null and caller_name is not null$sql$, s);
    if trigrams is not null then
        execute format($sql$
            create index idx_messages_caller_words on %I.messages using gin (caller_name %s)
                where entry and conversation_id is not null and caller_name is not null$sql$, s, trigrams);
    end if;
end
$$;

create function index_found_threads(s text) returns void
    language plpgsql
    as $$
declare
    trigrams text := trigram_operators();
begin
    if trigrams is not null then
        execute format($sql$
            create index idx_contacts_words on %I.contacts
                using gin ((coalesce(display_name, '') || ' ' || coalesce(formatted_number, '') || ' ' || phone_number) %s)
            $sql$, s, trigrams);
    end if;
end
$$;

create or replace function index_messages(generation integer) returns void
    language plpgsql
    as $$
declare
    s text := 'read_model_g' || generation;
begin
    execute format('alter table %I.messages add primary key (id)', s);
    execute format('create unique index idx_messages_twilio_sid on %I.messages (twilio_sid)', s);
    execute format('create index idx_messages_root on %I.messages (root_call_sid)', s);
    execute format('create index idx_messages_conversation on %I.messages (conversation_id, start_time desc, id desc) where entry', s);
    execute format('create index idx_messages_live on %I.messages (start_time desc, id desc) where entry and live', s);
    execute format('create index idx_messages_unfinished on %I.messages (id) where not is_final', s);
    -- What is counted anew when the read marker of a thread has moved: the missed calls after it.
    execute format('create index idx_messages_missed on %I.messages (conversation_id, (coalesce(end_time, start_time))) where entry and missed', s);
    perform index_found_messages(s);
    execute format('analyze %I.messages', s);
end
$$;

create or replace function index_threads(generation integer) returns void
    language plpgsql
    as $$
declare
    s text := 'read_model_g' || generation;
begin
    execute format('alter table %I.contacts add primary key (id)', s);
    execute format('create unique index idx_contacts_phone on %I.contacts (phone_number)', s);
    execute format('alter table %I.conversations add primary key (id)', s);
    execute format('create unique index idx_conversations_external on %I.conversations (external_id)', s);
    execute format('create index idx_conversations_contact on %I.conversations (contact_id)', s);
    execute format('create index idx_conversations_last_message on %I.conversations (last_message_at desc, id desc)', s);
    execute format('alter table %I.entered add primary key (conversation_id)', s);
    perform index_found_threads(s);
    execute format('analyze %I.contacts', s);
    execute format('analyze %I.conversations', s);
    execute format('analyze %I.entered', s);
end
$$;

-- The generations that are there serve until they are rebuilt, so they get what readers look for. Which line a call
-- was on, and who called as the network has it, is known after the rebuild.
do $$
declare
    s text;
begin
    for s in select 'read_model_g' || generation from read_model_generations loop
        execute format('alter table %I.messages add column line text, add column caller_name text', s);
        execute format('drop index if exists %I.idx_messages_start_time', s);
        perform index_found_messages(s);
        perform index_found_threads(s);
    end loop;
end
$$;
