-- Whose book this is. One database holds one account's log, and a simulated account never shares one with a
-- real account. The key makes the read model's ids: with it, a rebuild never changes a link.

create table installation (
    only_row boolean primary key default true check (only_row),
    account_sid text not null,
    simulated boolean not null,
    id_key bytea not null check (length(id_key) = 32),
    created_at timestamptz not null default clock_timestamp()
);
