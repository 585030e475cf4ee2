-- Everything enters by the inbox: a webhook is answered when its row here is durable, and decided later.

create table twilio_webhook_inbox (
    id bigint generated always as identity primary key,
    source text not null,
    event_type text not null,
    -- Null where the request names no call, or something too long to be one; the payload has it as it came.
    call_sid varchar(100),
    recording_sid varchar(100),
    -- Derived from content, so that a repeated request is the same row (contract section 3).
    dedupe_key varchar(255) not null unique,
    payload jsonb not null,
    received_at timestamptz not null,
    processed_at timestamptz,
    processing_status text not null default 'pending'
        check (processing_status in ('pending', 'processing', 'completed', 'failed', 'dead_letter')),
    error text,
    retry_count integer not null default 0,
    -- When a failed row is tried again.
    next_attempt_at timestamptz,
    -- What came of it: {"result": "recorded" | "already_so" | "refused", "events": [{call_sid, sequence, type}], ...}.
    outcome jsonb,
    request_id text,
    idempotency_token text
);

-- What ingest looks for: few rows, whatever the size of the table.
create index twilio_webhook_inbox_waiting on twilio_webhook_inbox (received_at, id)
    where processing_status in ('pending', 'failed');
create index twilio_webhook_inbox_call on twilio_webhook_inbox (call_sid, id);
create index twilio_webhook_inbox_dead on twilio_webhook_inbox (id) where processing_status = 'dead_letter';
