-- What a request with an Idempotency-Key was answered, so that the same request again is answered the same and does
-- nothing. A key commits with the events of its unit.

create table idempotency_keys (
    key text primary key,
    -- Of what was asked: the same key with another request is refused.
    request_digest bytea not null,
    answer jsonb not null,
    created_at timestamptz not null default clock_timestamp()
);

-- What is looked for by whoever drops those that are old.
create index idempotency_keys_age on idempotency_keys (created_at);

-- Beside the function of the same name with fewer parameters, which an older callbook on this database calls.
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
    metadatas json[],
    keys text[],
    key_digests bytea[],
    key_answers jsonb[]
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
    if cardinality(keys) > 0 then
        -- Before the append lock: whoever else commits the same key is waited for outside of it.
        insert into idempotency_keys (key, request_digest, answer)
        select * from unnest(keys, key_digests, key_answers);
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
