-- Evaluated for every event that is appended: in SQL, the function was planned anew for each row and took 4.5 µs;
-- in plpgsql it takes 1.6 µs.
create or replace function utc_time(rfc3339 text) returns timestamptz
    language plpgsql immutable strict parallel safe
    as $$ begin return rfc3339::timestamptz; end $$;
