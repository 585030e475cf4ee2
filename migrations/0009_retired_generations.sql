-- A generation that served is kept for a grace period, for requests that still read it. What is neither current
-- nor retired was left by a build that did not finish.

alter table read_model_generations add column retired_at timestamptz;
update read_model_generations g set retired_at = clock_timestamp()
  from read_model_current c where g.generation = c.previous;
alter table read_model_current drop column previous;

-- The pointer alone: what a swap holds locks for. Nothing here waits for a reader.
create or replace function publish_read_model(generation integer) returns void
    language plpgsql
    as $$
begin
    update read_model_generations g set retired_at = clock_timestamp()
      from read_model_current c where g.generation = c.generation;
    insert into read_model_current as pointer (generation) values (publish_read_model.generation)
        on conflict (only_row) do update set generation = excluded.generation;
end
$$;

-- For people with psql: these names follow the pointer. Apart from the swap, because replacing a view waits for
-- whoever reads through it.
create function point_views(generation integer) returns void
    language plpgsql
    as $$
declare
    s text := 'read_model_g' || generation;
    view text;
begin
    foreach view in array array['call_legs', 'contacts', 'conversations', 'messages'] loop
        execute format('drop view if exists public.%I', view);
        execute format('create view public.%I as select * from %I.%I', view, s, view);
    end loop;
end
$$;
