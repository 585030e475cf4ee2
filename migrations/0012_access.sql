-- Who may use the API. Only digests are kept: what lies here lets nobody in.

create table api_tokens (
    id           bigint generated always as identity primary key,
    -- Who or what it is for; a revoked token gives its name free.
    name         text not null check (name <> ''),
    role         text not null check (role in ('viewer', 'dispatcher', 'engineer', 'admin')),
    -- SHA-256. A token is random and long, so a slow digest would add nothing.
    digest       bytea not null unique check (length(digest) = 32),
    created_at   timestamptz not null default clock_timestamp(),
    -- To the minute.
    last_used_at timestamptz,
    revoked_at   timestamptz
);

create unique index api_tokens_name on api_tokens (name) where revoked_at is null;

-- A browser that signed in with a token, and is let in by a cookie from then on.
create table sessions (
    digest       bytea primary key check (length(digest) = 32),
    -- The token it was signed in with; null for the one of the environment, whose digest stands beside it then.
    token_id     bigint references api_tokens,
    environment  bytea,
    created_at   timestamptz not null default clock_timestamp(),
    expires_at   timestamptz not null,
    check ((token_id is null) <> (environment is null))
);

create index sessions_expire on sessions (expires_at);
