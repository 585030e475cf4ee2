-- Many callbooks may run on one database. All of them answer webhooks and serve reads; the one that holds the
-- lease decides what is in the inbox and folds the log.

create table worker_lease (
    -- Raised whenever the lease changes hands; whoever works under an older one writes nothing. It is the key
    -- so that "for key share", which a transaction takes on the epoch it works under, holds up a taker until
    -- that transaction ends, and never the holder's own renewal, which leaves the key alone.
    epoch bigint primary key,
    only_row boolean not null default true unique check (only_row),
    -- Null: nobody.
    holder text,
    -- The session that renews it. When that has gone, so has the holder, and nobody need wait for the time-out.
    session_pid integer,
    session_started timestamptz,
    taken_at timestamptz,
    -- By this database's clock, which is the only one that all instances share.
    expires_at timestamptz not null default '-infinity'
);

insert into worker_lease (epoch) values (0);

-- Units of work, all or nothing, in one round trip: nothing can then be left idle with the append lock.
-- `epochs` are those that units were decided under; with any that is over, nothing is written.
create function commit_units(
    epochs bigint[],
    done_ids bigint[],
    done_statuses text[],
    done_outcomes jsonb[],
    done_errors text[],
    done_times timestamptz[],
    aggregate_types text[],
    aggregate_ids text[],
    sequences bigint[],
    event_types text[],
    event_versions text[],
    payloads json[],
    metadatas json[]
) returns void
    language plpgsql
    as $$
declare
    unit_epoch bigint;
begin
    if cardinality(done_ids) > 0 then
        -- A row that another instance has finished keeps the outcome that its events belong to.
        update twilio_webhook_inbox as inbox
           set processing_status = done.status, outcome = done.outcome, error = done.error,
               processed_at = done.at, next_attempt_at = null
          from unnest(done_ids, done_statuses, done_outcomes, done_errors, done_times)
               as done (id, status, outcome, error, at)
         where inbox.id = done.id and inbox.processing_status in ('pending', 'failed');
    end if;
    if cardinality(sequences) > 0 then
        -- In a statement of its own: what follows must see everything that was appended during the wait.
        perform pg_advisory_xact_lock(append_lock());
    end if;
    -- Late, so that a wait for the append lock never holds up whoever takes the lease over.
    foreach unit_epoch in array epochs loop
        perform from worker_lease where epoch = unit_epoch for key share;
        if not found then
            raise exception 'epoch % of the worker lease is over', unit_epoch using errcode = 'CB001';
        end if;
    end loop;
    if cardinality(sequences) > 0 then
        insert into call_events
               (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
        select * from unnest(aggregate_types, aggregate_ids, sequences, event_types, event_versions, payloads, metadatas);
    end if;
end
$$;
